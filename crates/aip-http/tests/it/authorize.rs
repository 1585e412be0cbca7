//! What apps may ask for, and where a refusal goes.

use std::time::Duration;

use aip_oauth::registration::ClientSettings;
use aip_storage::client::ApplicationType;
use http::StatusCode;

use crate::support::app::TestApp;
use crate::support::{ALICE, ALICE_HANDLE, Answer, BOB, ISSUER, World, encode, settings};

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
async fn an_unknown_client_or_redirect_is_a_page_and_never_a_redirect() {
    let world = World::new().await;
    let app = world.app().await;
    for changes in [
        [("client_id", "nobody")],
        [("client_id", "")],
        [("redirect_uri", "https://evil.example/")],
        [("redirect_uri", "")],
    ] {
        let query = app.authorize_url(&changes);
        world
            .get(&query)
            .await
            .expect_page(400, "This did not work");
        let form = app.request(&changes);
        let posted = world.post("/oauth/authorize", &form).await;
        posted.expect_page(400, "This did not work");
    }
    let twice = format!(
        "{}&redirect_uri=https://evil.example/",
        app.authorize_url(&[])
    );
    world.get(&twice).await.expect_page(400, "redirect_uri");
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
        redirect_uris: vec!["http://127.0.0.1/callback".to_owned()],
        ..settings()
    };
    let app = world.app_with(native).await;
    let url = app.authorize_url(&[("redirect_uri", "http://127.0.0.1:49152/callback")]);
    assert!(world.get(&url).await.location().starts_with("/login?"));

    let web = World::at("http://127.0.0.1:8080").await;
    let app = web
        .app_with(ClientSettings {
            redirect_uris: vec!["http://127.0.0.1/callback".to_owned()],
            ..settings()
        })
        .await;
    let url = app.authorize_url(&[("redirect_uri", "http://127.0.0.1:49152/callback")]);
    web.get(&url).await.expect_page(400, "not registered");
}

#[tokio::test]
async fn a_duplicate_parameter_is_told_to_the_app() {
    let world = World::new().await;
    let app = world.app().await;
    let url = format!("{}&scope=openid", app.authorize_url(&[]));
    expect_refusal(&world.get(&url).await, &app, "invalid_request");
}

#[tokio::test]
async fn other_response_types_are_unsupported_and_the_app_is_told_with_state_and_iss() {
    let world = World::new().await;
    let app = world.app().await;
    for response_type in ["token", "id_token", "code id_token", "none"] {
        let url = app.authorize_url(&[("response_type", response_type)]);
        expect_refusal(&world.get(&url).await, &app, "unsupported_response_type");
    }
    let fragment = app.authorize_url(&[("response_mode", "fragment")]);
    expect_refusal(&world.get(&fragment).await, &app, "invalid_request");
}

#[tokio::test]
async fn pkce_is_required_and_only_s256_will_do() {
    let world = World::new().await;
    let app = world.app().await;
    for changes in [
        vec![("code_challenge", ""), ("code_challenge_method", "")],
        vec![("code_challenge_method", "plain")],
        vec![("code_challenge_method", "")],
        vec![("code_challenge", "short")],
    ] {
        let answer = world.get(&app.authorize_url(&changes)).await;
        expect_refusal(&answer, &app, "invalid_request");
    }
}

#[tokio::test]
async fn without_pages_the_app_learns_which_page_would_be_needed() {
    let world = World::new().await;
    let app = world.app().await;
    let silent = app.authorize_url(&[("prompt", "none")]);
    expect_refusal(&world.get(&silent).await, &app, "login_required");
    let contradiction = app.authorize_url(&[("prompt", "none login")]);
    expect_refusal(&world.get(&contradiction).await, &app, "invalid_request");

    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    let again = browser.get(&silent).await;
    assert!(
        again.location_param("code").is_some(),
        "{}",
        again.location()
    );
    let wider = app.authorize_url(&[
        ("prompt", "none"),
        ("scope", "openid atproto repo:app.bsky.feed.post"),
    ]);
    expect_refusal(&browser.get(&wider).await, &app, "consent_required");

    let second = world.app().await;
    let silent = second.authorize_url(&[("prompt", "none")]);
    expect_refusal(&browser.get(&silent).await, &second, "consent_required");
}

#[tokio::test]
async fn without_pages_several_accounts_must_be_chosen_from() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    let page = browser.get("/login").await;
    browser.sign_in(&page, BOB).await;
    let silent = app.authorize_url(&[("prompt", "none")]);
    expect_refusal(
        &browser.get(&silent).await,
        &app,
        "account_selection_required",
    );
    let hinted = app.authorize_url(&[("prompt", "none"), ("login_hint", ALICE_HANDLE)]);
    assert!(browser.get(&hinted).await.location_param("code").is_some());
    let unknown = app.authorize_url(&[("prompt", "none"), ("login_hint", "carol.example.com")]);
    expect_refusal(&browser.get(&unknown).await, &app, "login_required");
}

#[tokio::test]
async fn max_age_and_prompt_login_send_the_person_to_their_pds_again() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    world.clock.advance(Duration::from_mins(5));
    let silent = app.authorize_url(&[("prompt", "none"), ("max_age", "60")]);
    expect_refusal(&browser.get(&silent).await, &app, "login_required");

    for change in [("max_age", "0"), ("prompt", "login")] {
        let before = world.pds.flows().len();
        let first = browser.get(&app.authorize_url(&[change])).await;
        let page = browser.follow(first).await;
        let submitted = browser.submit_login(&page, "account", ALICE).await;
        assert_eq!(world.pds.flows().len(), before + 1, "{change:?}");
        let answer = browser.follow(submitted).await;
        let code = answer.location_param("code").unwrap();
        let tokens = app.redeem(&code, &[]).await.json();
        let claims = claims_of(tokens["id_token"].as_str().unwrap());
        let now = aip_base::Clock::now(&*world.clock).as_secs();
        assert_eq!(claims["auth_time"], now, "{change:?}");
        let flows = world.pds.flows();
        let asked = flows.last().unwrap().prompt.as_deref();
        assert_eq!(asked, Some("login"), "{change:?}");
    }
}

fn claims_of(token: &str) -> serde_json::Value {
    aip_jose::UnverifiedJws::parse(token)
        .unwrap()
        .unverified_claims()
        .unwrap()
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
async fn a_scope_beyond_the_registered_one_is_refused() {
    let world = World::new().await;
    let app = world.app().await;
    let answer = world
        .get(&app.authorize_url(&[("scope", "openid transition:generic")]))
        .await;
    expect_refusal(&answer, &app, "invalid_scope");
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

#[tokio::test]
async fn a_login_hint_leads_straight_to_the_pds_unless_an_account_is_to_be_chosen() {
    let world = World::new().await;
    let app = world.app().await;
    let hinted = world
        .get(&app.authorize_url(&[("login_hint", ALICE_HANDLE)]))
        .await;
    assert!(hinted.location().starts_with("https://pds.example/"));
    let choosing = app.authorize_url(&[("login_hint", ALICE_HANDLE), ("prompt", "select_account")]);
    let mut browser = world.browser();
    let answer = browser.get(&choosing).await;
    let page = browser.follow(answer).await;
    assert!(
        page.body.contains("value=\"alice.example.com\""),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_login_hint_that_leads_nowhere_shows_the_sign_in_page_with_the_reason() {
    let world = World::new().await;
    let app = world.app().await;
    let answer = world
        .get(&app.authorize_url(&[("login_hint", "nobody.example.com")]))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.contains("role=\"alert\""));
    assert!(answer.body.contains("_atproto.nobody.example.com"));
}

#[tokio::test]
async fn a_hint_of_another_site_is_shown_before_its_server_is_asked() {
    let world = World::new().await;
    let app = world.app().await;
    let url = app.authorize_url(&[("login_hint", ALICE_HANDLE)]);
    let from = async |site: &'static str| {
        let request = http::Request::get(&url).header("sec-fetch-site", site);
        world
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await
    };
    for site in ["cross-site", "same-site"] {
        let answer = from(site).await;
        assert!(answer.location().starts_with("/login?request="), "{site}");
        let page = world.get(&answer.location()).await;
        assert!(
            page.body.contains("value=\"alice.example.com\""),
            "{}",
            page.body
        );
    }
    assert!(world.pds.flows().is_empty(), "nobody's server was asked");
    for site in ["none", "same-origin"] {
        let answer = from(site).await;
        assert!(
            answer.location().starts_with("https://pds.example/"),
            "{site}"
        );
    }
    // An account that is known here is no news.
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    let request = http::Request::get(&url)
        .header("sec-fetch-site", "cross-site")
        .header("cookie", browser.cookie().unwrap());
    let answer = world
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert!(answer.location_param("code").is_some());
}

#[tokio::test]
async fn the_only_account_that_allowed_the_app_is_taken_unless_a_page_is_wanted() {
    let world = World::new().await;
    let (app, other) = (world.app().await, world.app().await);
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    let taken = browser.get(&app.authorize_url(&[])).await;
    assert!(
        taken.location_param("code").is_some(),
        "{}",
        taken.location()
    );
    for changes in [
        [("prompt", "select_account")],
        [("prompt", "login")],
        [("prompt", "consent")],
        [("max_age", "0")],
        [("scope", "openid atproto repo:app.bsky.feed.post")],
        [("login_hint", "somebody.else.example")],
    ] {
        let answer = browser.get(&app.authorize_url(&changes)).await;
        let app_told = answer
            .headers
            .get("location")
            .is_some_and(|it| it.to_str().unwrap().starts_with("https://app.example"));
        assert!(!app_told, "{changes:?}");
    }
    let answer = browser.get(&other.authorize_url(&[])).await;
    assert!(answer.location().starts_with("/login?"), "another app");
    let page = browser.get("/login").await;
    browser.sign_in(&page, BOB).await;
    let answer = browser.get(&app.authorize_url(&[])).await;
    assert!(
        answer.location().starts_with("/login?"),
        "which of the two?"
    );
}

#[tokio::test]
async fn a_request_that_no_url_carries_is_carried_by_the_page() {
    let world = World::new().await;
    let app = world.app().await;
    let nonce = "n".repeat(2000);
    let url = format!(
        "{}&unknown={}",
        app.authorize_url(&[("nonce", &nonce)]),
        "x".repeat(6000)
    );
    let mut browser = world.browser();
    let page = browser.get(&url).await;
    assert_eq!(page.status, 200);
    let consent = browser.sign_in(&page, ALICE_HANDLE).await;
    let back = browser.decide(&consent, "allow").await;
    assert_eq!(back.location_param("state").as_deref(), Some("the state"));
}

#[tokio::test]
async fn a_long_form_of_another_site_is_repeated_by_our_page_and_replaces_no_cookie() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    let long = "s".repeat(7 * 1024);
    let form = app.request(&[("unknown", &long)]);
    let page = world.post("/oauth/authorize", &form).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("set-cookie"), "");
    assert!(page.body.contains("<form id=\"repeat\""), "{}", page.body);
    // Sent by our page, the form brings the cookies: the person is known.
    let mut repeated = form.clone();
    repeated.push(("aip_repeated", "1"));
    let answer = browser.post("/oauth/authorize", &repeated).await;
    assert!(answer.location_param("code").is_some());
    // Without any cookie there is a sign-in page in the end, and no circle.
    let answer = world.post("/oauth/authorize", &repeated).await;
    assert!(
        answer.body.contains("<form id=\"login\""),
        "{}",
        answer.body
    );
}
