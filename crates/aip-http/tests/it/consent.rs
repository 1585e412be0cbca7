//! May this app? Nobody but the person in this browser can say so, and only to what was shown.

use aip_oauth::registration::ClientSettings;
use aip_storage::client::ApplicationType;
use aip_storage::upstream::SessionKind;
use http::{HeaderName, StatusCode};

use crate::support::app::TestApp;
use crate::support::browser::{Browser, hidden};
use crate::support::{ALICE, ALICE_HANDLE, Answer, World, settings};

/// Signs Alice in for the app: the consent page.
async fn consent_page(
    app: &TestApp<'_>,
    browser: &mut Browser<'_>,
    changes: &[(&str, &str)],
) -> Answer {
    let first = browser.get(&app.authorize_url(changes)).await;
    let login = browser.follow(first).await;
    let page = browser.sign_in(&login, ALICE_HANDLE).await;
    assert!(page.body.contains("<form id=\"consent\""), "{}", page.body);
    page
}

#[tokio::test]
async fn the_page_says_who_wants_what_from_whom_and_where_it_leads() {
    let world = World::new().await;
    let app = world.app().await;
    let page = consent_page(
        &app,
        &mut world.browser(),
        &[("scope", "openid atproto repo:app.bsky.feed.post")],
    )
    .await;
    for words in [
        "Test App",
        app.id.as_str(),
        "app.example",
        ALICE_HANDLE,
        ALICE,
        "before",
        "posts",
        "repo:app.bsky.feed.post",
        "id=\"allow\"",
        "id=\"deny\"",
    ] {
        assert!(page.body.contains(words), "{words}: {}", page.body);
    }
}

#[tokio::test]
async fn an_app_cannot_ride_on_what_another_app_was_allowed() {
    let world = World::new().await;
    let first = world.app().await;
    let mut browser = world.browser();
    first.allowed(&mut browser, &[]).await;

    // The newcomer hints at the account, and the PDS lets the person in without any page.
    let second = world.app().await;
    let url = second.authorize_url(&[("login_hint", ALICE)]);
    let answer = browser.get(&url).await;
    let page = browser.follow(answer).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("<form id=\"consent\""), "{}", page.body);
    let grants = world
        .server
        .storage
        .grants_of(&ALICE.parse().unwrap())
        .await;
    assert_eq!(grants.unwrap().len(), 1, "no code without a click");
}

#[tokio::test]
async fn a_decision_without_or_with_a_wrong_csrf_token_is_refused() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let page = consent_page(&app, &mut browser, &[]).await;
    let request = hidden(&page, "request");
    let of_login = {
        let login = browser.get(&format!("/login?request={request}")).await;
        hidden(&login, "csrf")
    };
    for csrf in ["", "wrong", &of_login] {
        let form = [("csrf", csrf), ("request", &request), ("decision", "allow")];
        let answer = browser.post("/consent", &form).await;
        answer.expect_page(403, "reload");
    }
    let decided = browser.decide(&page, "allow").await;
    assert!(
        decided.location_param("code").is_some(),
        "nothing was spent"
    );
}

#[tokio::test]
async fn a_decision_from_another_site_is_refused() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let page = consent_page(&app, &mut browser, &[]).await;
    let (csrf, request) = (hidden(&page, "csrf"), hidden(&page, "request"));
    let form = [
        ("csrf", csrf.as_str()),
        ("request", &request),
        ("decision", "allow"),
    ];
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
    ] {
        let headers = vec![(HeaderName::from_static(name), value.to_owned())];
        let answer = browser.post_with("/consent", &form, headers).await;
        answer.expect_page(403, "another site");
    }
}

#[tokio::test]
async fn another_browser_can_neither_see_nor_decide_a_request() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let page = consent_page(&app, &mut browser, &[]).await;
    let (csrf, request) = (hidden(&page, "csrf"), hidden(&page, "request"));

    let mut other = world.browser();
    other.get("/account").await;
    let seen = other.get(&format!("/consent?request={request}")).await;
    seen.expect_page(400, "over");
    let form = [
        ("csrf", csrf.as_str()),
        ("request", &request),
        ("decision", "allow"),
    ];
    other.post("/consent", &form).await.expect_page(400, "over");
    let without_cookie = world.post("/consent", &form).await;
    without_cookie.expect_page(403, "cookie");
}

#[tokio::test]
async fn a_consent_holds_for_that_client_and_those_scopes_only() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    app.allowed(&mut browser, &[]).await;
    let again = browser
        .get(&app.authorize_url(&[("login_hint", ALICE)]))
        .await;
    let code = again.location_param("code");
    assert!(code.is_some(), "the same scopes are not asked for again");

    let wider = app.authorize_url(&[
        ("login_hint", ALICE),
        ("scope", "openid atproto repo:app.bsky.feed.post"),
    ]);
    let answer = browser.get(&wider).await;
    let page = browser.follow(answer).await;
    assert!(page.body.contains("more than you allowed"), "{}", page.body);
}

#[tokio::test]
async fn a_decision_is_taken_once_and_its_repeat_gets_the_same_answer() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    for decision in ["allow", "deny"] {
        let page = consent_page(&app, &mut browser, &[("prompt", "consent select_account")]).await;
        let first = browser.decide(&page, decision).await;
        let second = browser.decide(&page, decision).await;
        assert_eq!(first.location(), second.location());
        // Not another decision, not another browser, not after a while.
        let other = if decision == "allow" { "deny" } else { "allow" };
        browser.decide(&page, other).await.expect_page(400, "over");
        let mut stranger = world.browser();
        stranger.get("/account").await;
        stranger
            .decide(&page, decision)
            .await
            .expect_page(400, "over");
        world.clock.advance(std::time::Duration::from_mins(1));
        browser
            .decide(&page, decision)
            .await
            .expect_page(400, "over");
    }
    let did = ALICE.parse().unwrap();
    let grants = world.server.storage.grants_of(&did);
    assert_eq!(grants.await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_decision_is_not_repeated_to_an_app_that_has_redeemed_its_code() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let page = consent_page(&app, &mut browser, &[]).await;
    let first = browser.decide(&page, "allow").await;
    let code = first.location_param("code").unwrap();
    let tokens = app.redeem(&code, &[]).await;
    assert_eq!(tokens.status, 200, "{}", tokens.body);
    browser
        .decide(&page, "allow")
        .await
        .expect_page(400, "over");
    let refreshed = app
        .refresh(tokens.json()["refresh_token"].as_str().unwrap())
        .await;
    assert_eq!(
        refreshed.status, 200,
        "a spent code would have ended the grant"
    );
}

#[tokio::test]
async fn a_no_is_told_to_the_app_and_ends_the_upstream_session() {
    let world = World::new().await;
    let app = world.app().await;
    let mut browser = world.browser();
    let page = consent_page(&app, &mut browser, &[]).await;
    let answer = browser.decide(&page, "deny").await;
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(answer.location_param("state").as_deref(), Some("the state"));
    let storage = &world.server.storage;
    let (client, did) = (app.id.parse().unwrap(), ALICE.parse().unwrap());
    let usable = storage.usable_upstream_session(SessionKind::OAuth, &client, &did);
    assert!(usable.await.unwrap().is_none());
}

#[tokio::test]
async fn the_operators_own_app_is_not_asked_about_unless_it_wants_to() {
    let world = World::new().await;
    let app = world
        .app_with(ClientSettings {
            first_party: true,
            ..settings()
        })
        .await;
    let mut browser = world.browser();
    let first = browser.get(&app.authorize_url(&[])).await;
    let login = browser.follow(first).await;
    let answer = browser.sign_in(&login, ALICE_HANDLE).await;
    assert!(answer.location_param("code").is_some());
    let asking = app.authorize_url(&[("login_hint", ALICE), ("prompt", "consent")]);
    let answer = browser.get(&asking).await;
    let page = browser.follow(answer).await;
    assert!(page.body.contains("<form id=\"consent\""), "{}", page.body);
}

#[tokio::test]
async fn not_even_the_operators_own_program_gets_a_code_without_a_click() {
    for redirect_uri in [
        "http://127.0.0.1/callback",
        "http://[::1]:4711/callback",
        "http://localhost/callback",
        "com.example.app:/callback",
    ] {
        let world = World::new().await;
        let app = world
            .app_with(ClientSettings {
                application_type: ApplicationType::Native,
                redirect_uris: vec![redirect_uri.to_owned()],
                first_party: true,
                ..settings()
            })
            .await;
        let mut browser = world.browser();
        app.allowed(&mut browser, &[]).await;
        let again = app.authorize_url(&[("login_hint", ALICE)]);
        let answer = browser.get(&again).await;
        let page = browser.follow(answer).await;
        assert!(page.body.contains("<form id=\"consent\""), "{redirect_uri}");
        let silent = app.authorize_url(&[("prompt", "none")]);
        let error = browser.get(&silent).await.location_param("error");
        assert_eq!(error.as_deref(), Some("consent_required"), "{redirect_uri}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_prove_which_one_it_is_is_asked_about_every_time() {
    let world = World::new().await;
    for (redirect_uri, asked_again) in [
        ("http://127.0.0.1/callback", true),
        ("com.example.app:/callback", true),
        ("https://app.example/callback", false),
    ] {
        let native = ClientSettings {
            application_type: ApplicationType::Native,
            redirect_uris: vec![redirect_uri.to_owned()],
            ..settings()
        };
        let app = world.app_with(native).await;
        let mut browser = world.browser();
        app.allowed(&mut browser, &[]).await;
        let again = app.authorize_url(&[("login_hint", ALICE)]);
        let answer = browser.get(&again).await;
        let answer = browser.follow(answer).await;
        assert_eq!(
            answer.body.contains("could pretend to be it"),
            asked_again,
            "{redirect_uri}"
        );
        let silent = app.authorize_url(&[("prompt", "none")]);
        let error = browser.get(&silent).await.location_param("error");
        let expected = asked_again.then(|| "consent_required".to_owned());
        assert_eq!(error, expected, "{redirect_uri}");
    }
}
