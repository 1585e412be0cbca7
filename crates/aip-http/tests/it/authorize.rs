//! Authorization requests that no person is asked about: which redirect URIs and parameters are
//! taken, and what becomes of a form.

use aip_oauth::registration::ClientSettings;
use aip_storage::client::ApplicationType;

use crate::support::app::TestApp;
use crate::support::{Answer, ISSUER, World, encode, settings};

/// Asserts that the app is told, with its `state` and our `iss`, and that nothing was stored.
#[track_caller]
fn expect_refusal(answer: &Answer, app: &TestApp<'_>, code: &str) {
    let location = answer.location();
    assert!(location.starts_with(&app.redirect_uri), "{location}");
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some(code),
        "{location}"
    );
    assert_eq!(answer.location_param("state").as_deref(), Some("the state"));
    assert_eq!(answer.location_param("iss").as_deref(), Some(ISSUER));
    assert_eq!(answer.location_param("code"), None);
}

#[tokio::test]
async fn no_variant_of_the_registered_redirect_is_followed() {
    let world = World::new().await;
    let app = world.app().await;
    for variant in [
        "https://app.example/callback/more",
        "https://app.example/callback?x=1",
        "https://app.example/callback#x",
        "https://user@app.example/callback",
        "https://app.example:8443/callback",
        "https://APP.example/callback",
        "https://app.example/x/../callback",
        "https://app.example/%63allback",
        "https://sub.app.example/callback",
        "https://app.example.evil.example/callback",
    ] {
        let answer = world
            .get(&app.authorize_url(&[("redirect_uri", variant)]))
            .await;
        answer.expect_page(400, "not registered");
    }
}

#[tokio::test]
async fn a_native_app_may_choose_its_loopback_port_and_a_web_app_may_not() {
    let world = World::new().await;
    let native = ClientSettings {
        application_type: ApplicationType::Native,
        redirect_uris: vec!["http://127.0.0.1/callback".parse().unwrap()],
        ..settings()
    };
    let app = world.app_with(native).await;
    let url = app.authorize_url(&[("redirect_uri", "http://127.0.0.1:49152/callback")]);
    assert!(world.get(&url).await.location().starts_with("/login?"));

    let web = World::at("http://127.0.0.1:8080").await;
    let app = web
        .app_with(ClientSettings {
            redirect_uris: vec!["http://127.0.0.1/callback".parse().unwrap()],
            ..settings()
        })
        .await;
    let url = app.authorize_url(&[("redirect_uri", "http://127.0.0.1:49152/callback")]);
    web.get(&url).await.expect_page(400, "not registered");
}

#[tokio::test]
async fn what_is_not_supported_is_refused_and_not_ignored() {
    let world = World::new().await;
    let app = world.app().await;
    for (name, code) in [
        ("id_token_hint", "invalid_request"),
        ("request", "request_not_supported"),
        ("request_uri", "request_uri_not_supported"),
        ("registration", "registration_not_supported"),
    ] {
        let answer = world.get(&app.authorize_url(&[(name, "x")])).await;
        expect_refusal(&answer, &app, code);
    }
}

#[tokio::test]
async fn a_post_means_the_same_as_a_get() {
    let world = World::new().await;
    let app = world.app().await;
    let refused = app.request(&[("response_type", "token")]);
    let answer = world.post("/oauth/authorize", &refused).await;
    expect_refusal(&answer, &app, "unsupported_response_type");

    // Without a cookie the request is repeated as a navigation, which brings the cookie along.
    let form = app.request(&[]);
    let answer = world.post("/oauth/authorize", &form).await;
    assert_eq!(
        answer.location(),
        format!("/oauth/authorize?{}", encode(&form))
    );
    let mut browser = world.browser();
    browser.get("/account").await;
    let known = browser.post("/oauth/authorize", &form).await;
    assert!(known.location().starts_with("/login?request="));
}
