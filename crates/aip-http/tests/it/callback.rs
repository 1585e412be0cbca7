//! A PDS sends the person back.

use crate::support::{ALICE, ALICE_HANDLE, ISSUER, World};

#[tokio::test]
async fn a_callback_of_no_sign_in_is_a_page_and_nothing_is_sent() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    for query in ["", "flow=7", "flow=0", "flow=0&state=x&code=y"] {
        let answer = browser.get(&format!("/oauth/atp/callback?{query}")).await;
        answer.expect_page(400, "This sign-in is over");
    }
}

#[tokio::test]
async fn a_callback_in_another_browser_signs_nobody_in() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let begun = browser
        .get(&app.authorize_url(&[("login_hint", ALICE_HANDLE)]))
        .await;
    assert!(begun.location().ends_with("flow=0"));

    let stranger = world.get("/oauth/atp/callback?flow=0").await;
    stranger.expect_page(400, "another browser");
    let mut other = world.browser();
    other.get("/account").await;
    let answer = other.get("/oauth/atp/callback?flow=0").await;
    answer.expect_page(400, "another browser");

    let page = browser.get("/oauth/atp/callback?flow=0").await;
    assert!(page.location().starts_with("/consent?"), "it was not spent");
}

#[tokio::test]
async fn a_no_at_the_pds_is_told_to_the_app_with_its_state_and_our_iss() {
    let world = World::new().await;
    let app = world.app().await;
    for (outcome, code) in [
        ("denied", "access_denied"),
        ("refused", "server_error"),
        ("unavailable", "temporarily_unavailable"),
    ] {
        let mut browser = world.browser();
        let begun = browser
            .get(&app.authorize_url(&[("login_hint", ALICE_HANDLE)]))
            .await;
        let query = begun.location().split_once('?').unwrap().1.to_owned();
        let answer = browser
            .get(&format!("/oauth/atp/callback?{query}&outcome={outcome}"))
            .await;
        assert!(answer.location().starts_with(&app.redirect_uri));
        assert_eq!(answer.location_param("error").as_deref(), Some(code));
        assert_eq!(answer.location_param("state").as_deref(), Some("the state"));
        assert_eq!(answer.location_param("iss").as_deref(), Some(ISSUER));
        assert_eq!(answer.location_param("code"), None);
    }
}

#[tokio::test]
async fn a_sign_in_replaces_the_cookie_so_that_a_planted_one_is_worthless() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = browser.get("/account").await;
    let planted = browser.cookie().unwrap().clone();
    browser.sign_in(&page, ALICE_HANDLE).await;
    assert_ne!(browser.cookie().unwrap(), planted);

    let mut attacker = world.browser();
    attacker.set_cookie(&planted);
    let page = attacker.get("/account").await;
    assert!(page.body.contains("<form id=\"login\""), "{}", page.body);
    assert!(!page.body.contains(ALICE), "{}", page.body);
}
