//! The pages as people see them: what they say, escape, offer and refuse.

use std::time::Duration;

use aip_oauth::registration::ClientSettings;
use http::StatusCode;

use crate::support::{ALICE, ALICE_HANDLE, BOB, NOBODY, World, settings};

#[tokio::test]
async fn a_handle_that_is_not_found_shows_the_page_again_with_what_was_tried() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let first = browser.get(&app.authorize_url(&[])).await;
    let page = browser.follow(first).await;
    assert!(
        page.body
            .contains("Sign in to <bdi class=\"name\">Test App</bdi>")
    );
    let again = browser.submit_login(&page, "subject", NOBODY).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    for words in [
        "role=\"alert\"",
        "_atproto.nobody.example.com",
        "no such record",
        "value=\"nobody.example.com\"",
    ] {
        assert!(again.body.contains(words), "{words}: {}", again.body);
    }
    let answer = browser.sign_in(&again, ALICE_HANDLE).await;
    assert!(
        answer.body.contains("<form id=\"consent\""),
        "the request lives on"
    );
}

#[tokio::test]
async fn an_empty_or_broken_handle_shows_the_page_again() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = browser.get("/login").await;
    for subject in ["", "  ", "not a handle", "did:key:x", "https://"] {
        let again = browser.submit_login(&page, "subject", subject).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "{subject}");
        assert!(again.body.contains("role=\"alert\""), "{subject}");
    }
}

#[tokio::test]
async fn accounts_of_this_browser_are_offered_and_need_no_second_sign_in() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    let choosing = app.authorize_url(&[("prompt", "select_account")]);
    let first = browser.get(&choosing).await;
    let page = browser.follow(first).await;
    let button = format!("class=\"account\" type=\"submit\" name=\"account\" value=\"{ALICE}\"");
    assert!(page.body.contains(&button), "{}", page.body);
    let before = world.pds.flows().len();
    let answer = browser.submit_login(&page, "account", ALICE).await;
    assert!(answer.location_param("code").is_some());
    assert_eq!(world.pds.flows().len(), before);

    // Somebody who is not signed in here goes to their PDS, whatever the form says.
    let first = browser.get(&choosing).await;
    let page = browser.follow(first).await;
    let answer = browser.submit_login(&page, "account", BOB).await;
    assert!(answer.location().starts_with("https://pds.example/"));
}

#[tokio::test]
async fn the_sign_in_form_is_bound_to_its_page() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.get("/login").await;
    let answer = browser.post("/login", &[("subject", ALICE_HANDLE)]).await;
    answer.expect_page(403, "reload");
    assert!(world.pds.flows().is_empty());
    let without_cookie = world.post("/login", &[("subject", ALICE_HANDLE)]).await;
    without_cookie.expect_page(403, "cookie");
}

#[tokio::test]
async fn no_page_can_be_framed() {
    let world = World::new().await;
    for path in ["/", "/login", "/account", "/oauth/authorize", "/nowhere"] {
        let answer = world.get(path).await;
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
    }
}

#[tokio::test]
async fn what_others_wrote_is_escaped_on_every_page() {
    let world = World::new().await;
    let payload = "<script>alert(1)</script>\"'&";
    let app = world
        .app_with(ClientSettings {
            name: payload.to_owned(),
            ..settings()
        })
        .await;
    let mut browser = world.browser();
    let first = browser
        .get(&app.authorize_url(&[
            ("login_hint", payload),
            ("state", payload),
            ("prompt", "select_account"),
        ]))
        .await;
    let login = browser.follow(first).await;
    let again = browser.submit_login(&login, "subject", payload).await;
    let consent = browser.sign_in(&again, ALICE_HANDLE).await;
    let unknown = world
        .get("/oauth/authorize?client_id=%3Cscript%3Ealert(1)")
        .await;
    let missing = browser.get("/consent?request=%3Cscript%3Ealert(1)").await;
    for page in [&login, &again, &consent, &unknown, &missing] {
        assert!(!page.body.contains("<script"), "{}", page.body);
        assert!(!page.body.contains("\"'&\""), "{}", page.body);
    }
    assert!(
        consent.body.contains("&#60;script&#62;"),
        "{}",
        consent.body
    );
    let decided = browser.decide(&consent, "allow").await;
    assert_eq!(decided.location_param("state").as_deref(), Some(payload));
}

#[tokio::test]
async fn forms_may_lead_wherever_the_app_sends_the_browser_on_to_and_nothing_is_loaded() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let first = browser.get(&app.authorize_url(&[])).await;
    let login = browser.follow(first).await;
    let consent = browser.sign_in(&login, ALICE_HANDLE).await;
    for page in [&login, &consent] {
        // Chromium and Safari hold every hop of the answer to a form to `form-action`.
        let policy = page.header("content-security-policy").to_owned();
        assert!(!policy.contains("form-action"), "{policy}");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(!policy.contains("script-src"), "{policy}");
    }
}

#[tokio::test]
async fn what_others_wrote_is_cut_and_set_apart_from_our_words() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = browser.get("/login").await;
    let long = format!("evil\u{202e}{}", "x".repeat(20_000));
    let again = browser.submit_login(&page, "subject", &long).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    let (_, alert) = again.body.split_once("role=\"alert\"").unwrap();
    let (alert, _) = alert.split_once("</div>").unwrap();
    assert!(alert.len() < 1000, "{alert}");
    assert!(!alert.contains('\u{202e}'), "{alert}");
    let login = browser.submit_login(&page, "subject", NOBODY).await;
    assert!(
        login
            .body
            .contains("<bdi>_atproto.nobody.example.com</bdi>")
    );
}

#[tokio::test]
async fn an_error_page_names_the_request_and_nothing_of_the_inside() {
    let world = World::new().await;
    let page = world.get("/oauth/authorize").await;
    page.expect_page(400, page.header("x-request-id"));
    assert!(!page.body.contains("aip_oauth"), "{}", page.body);
}

#[tokio::test]
async fn a_browser_is_remembered_for_long_only_after_somebody_signed_in() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let stranger = browser.get("/account").await;
    let cookie = stranger.header("set-cookie").to_owned();
    assert!(cookie.contains("; Max-Age=7200;"), "{cookie}");

    // Too late to begin a sign-in that this session would outlive: there is a new one.
    world.clock.advance(Duration::from_mins(61));
    let page = browser.get("/account").await;
    assert_ne!(page.header("set-cookie"), "");
    assert_ne!(page.header("set-cookie"), cookie);

    let first = browser.get(&app.authorize_url(&[])).await;
    let page = browser.follow(first).await;
    let submitted = browser.submit_login(&page, "subject", ALICE_HANDLE).await;
    let back = submitted
        .location()
        .replace("https://pds.example/authorize", "/oauth/atp/callback");
    let signed_in = browser.get(&back).await;
    let cookie = signed_in.header("set-cookie").to_owned();
    assert!(cookie.contains("; Max-Age=2592000;"), "{cookie}");
}
