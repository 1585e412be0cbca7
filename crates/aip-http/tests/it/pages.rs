//! The pages as people see them: what they say, escape, offer and refuse.

use http::StatusCode;

use crate::support::{ALICE_HANDLE, World, encode, param};

#[tokio::test]
async fn an_empty_or_broken_handle_shows_the_page_again() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = browser.get("/login").await;
    for subject in ["", "  ", "not a handle", "did:key:x", "https://"] {
        let again = browser.submit_login(&page, subject).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "{subject}");
        assert!(again.body.contains("role=\"alert\""), "{subject}");
    }
}

#[tokio::test]
async fn the_sign_in_form_is_bound_to_its_page() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.get("/login").await;
    let answer = browser.post("/login", &[("subject", ALICE_HANDLE)]).await;
    answer.expect_page(403, "reload");
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
async fn what_others_wrote_is_cut_and_set_apart_from_our_words() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = browser.get("/login").await;
    let long = format!("evil\u{202e}{}", "x".repeat(20_000));
    let again = browser.submit_login(&page, &long).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    let (_, alert) = again.body.split_once("role=\"alert\"").unwrap();
    let (alert, _) = alert.split_once("</div>").unwrap();
    assert!(alert.len() < 1000, "{alert}");
    assert!(!alert.contains('\u{202e}'), "{alert}");
}

#[tokio::test]
async fn an_error_page_names_the_request_and_nothing_of_the_inside() {
    let world = World::new().await;
    let page = world.get("/oauth/authorize").await;
    page.expect_page(400, page.header("x-request-id"));
    assert!(!page.body.contains("aip_oauth"), "{}", page.body);
}

#[tokio::test]
async fn with_nobody_signed_in_there_is_nothing_to_ask() {
    let world = World::new().await;
    let answer = world.get("/oauth/logout").await;
    assert_eq!(answer.location(), "/?signed-out");
    let app = world.app().await;
    let params = [
        ("client_id", app.id.as_str()),
        ("post_logout_redirect_uri", "https://app.example/bye"),
    ];
    let answer = world
        .get(&format!("/oauth/logout?{}", encode(&params)))
        .await;
    assert_eq!(answer.location(), "https://app.example/bye");
    assert_eq!(param(&answer.location(), "state"), None);
}
