//! An app asks for a sign-out.

use crate::support::browser::hidden;
use crate::support::{ALICE, BOB, World, encode, param};

const BYE: &str = "https://app.example/bye";

fn url(params: &[(&str, &str)]) -> String {
    format!("/oauth/logout?{}", encode(params))
}

#[tokio::test]
async fn a_valid_hint_signs_the_account_out_and_leads_back_to_the_app() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let code = app.code(&mut browser, &[]).await;
    let tokens = app.redeem(&code, &[]).await.json();
    let hint = tokens["id_token"].as_str().unwrap();
    let params = [
        ("id_token_hint", hint),
        ("post_logout_redirect_uri", BYE),
        ("state", "s"),
    ];
    // Another site's form comes without the cookie, so it is repeated as a navigation.
    let posted = world.post("/oauth/logout", &params).await;
    assert!(posted.location().starts_with("/oauth/logout?"));
    let answer = browser.get(&url(&params)).await;
    assert_eq!(answer.location(), format!("{BYE}?state=s"));
    let page = browser.get("/account").await;
    assert!(page.body.contains("<form id=\"login\""), "{}", page.body);
}

#[tokio::test]
async fn without_a_hint_the_person_is_asked() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    let params = [
        ("client_id", app.id.as_str()),
        ("post_logout_redirect_uri", BYE),
        ("state", "s"),
    ];
    let page = browser.get(&url(&params)).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<form id=\"logout\""), "{}", page.body);
    assert!(browser.get("/account").await.body.contains(ALICE));

    let csrf = hidden(&page, "csrf");
    for wrong in ["wrong", "csrf"] {
        let mut form = params.to_vec();
        form.push(("csrf", wrong));
        let answer = browser.post("/oauth/logout", &form).await;
        answer.expect_page(403, "reload");
    }
    let mut form = params.to_vec();
    form.push(("csrf", &csrf));
    let answer = browser.post("/oauth/logout", &form).await;
    assert_eq!(answer.location(), format!("{BYE}?state=s"));
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn an_unregistered_address_or_a_wrong_hint_is_a_page_and_no_redirect() {
    let world = World::new().await;
    let (app, other) = (world.app().await, world.app().await);
    let mut browser = world.browser();
    let code = app.code(&mut browser, &[]).await;
    let tokens = app.redeem(&code, &[]).await.json();
    let hint = tokens["id_token"].as_str().unwrap();
    let access = tokens["access_token"].as_str().unwrap();
    let forged = hint.replacen("ey", "eY", 1);
    let bad: [&[(&str, &str)]; 7] = [
        &[
            ("client_id", &app.id),
            ("post_logout_redirect_uri", "https://evil.example/"),
        ],
        &[
            ("id_token_hint", hint),
            ("post_logout_redirect_uri", "https://evil.example/"),
        ],
        &[("post_logout_redirect_uri", BYE)],
        &[("id_token_hint", hint), ("client_id", &other.id)],
        &[
            ("id_token_hint", &forged),
            ("post_logout_redirect_uri", BYE),
        ],
        &[("id_token_hint", access)],
        &[("client_id", "nobody"), ("post_logout_redirect_uri", BYE)],
    ];
    for params in bad {
        let answer = browser.get(&url(params)).await;
        answer.expect_page(400, "This did not work");
    }
    assert!(
        browser.get("/account").await.body.contains(ALICE),
        "nobody was signed out"
    );
}

#[tokio::test]
async fn with_nobody_signed_in_there_is_nothing_to_ask() {
    let world = World::new().await;
    let answer = world.get("/oauth/logout").await;
    assert_eq!(answer.location(), "/?signed-out");
    let app = world.app().await;
    let params = [
        ("client_id", app.id.as_str()),
        ("post_logout_redirect_uri", BYE),
    ];
    let answer = world.get(&url(&params)).await;
    assert_eq!(answer.location(), BYE);
    assert_eq!(param(&answer.location(), "state"), None);
}

#[tokio::test]
async fn a_hint_of_an_account_that_is_not_signed_in_here_is_asked_about() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let code = app.code(&mut browser, &[]).await;
    let tokens = app.redeem(&code, &[]).await.json();
    let hint = tokens["id_token"].as_str().unwrap();
    let params = [("id_token_hint", hint), ("post_logout_redirect_uri", BYE)];

    let mut others = world.browser();
    let page = others.get("/login").await;
    others.sign_in(&page, BOB).await;
    let asked = others.get(&url(&params)).await;
    assert!(asked.body.contains("<form id=\"logout\""), "{}", asked.body);
    let page = others.get("/account").await;
    assert!(page.body.contains(BOB), "still signed in");

    let csrf = hidden(&asked, "csrf");
    let mut form = params.to_vec();
    form.push(("csrf", &csrf));
    let answer = others.post("/oauth/logout", &form).await;
    assert_eq!(answer.location(), BYE);
    // A second click on the same button, the first of which has signed out.
    let again = others.post("/oauth/logout", &form).await;
    let again = others.follow(again).await;
    assert_eq!(again.location(), BYE);
}
