//! Whom the person lets in: asked once per app, account, scopes and browser, and able to take it
//! back.

use std::time::Duration;

use aip_storage::audit::AuditKind;
use http::Request;
use http::header::CONTENT_TYPE;

use crate::app::{REDIRECT, SCOPE, Tokens};
use crate::browser::{Browser, Page};
use crate::html::Form;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_new_app_cannot_ride_on_the_silent_sign_in_of_the_pds,
    a_decision_that_our_page_did_not_send_is_refused,
    a_decision_is_taken_once_and_its_repeat_gets_the_same_answer,
    a_consent_is_for_one_app_and_its_scopes_only,
    what_the_query_of_a_page_says_changes_no_stored_request,
    a_person_is_asked_once_in_each_browser,
    without_pages_the_app_is_told_what_is_missing,
);

pub(crate) const WIDER: &str =
    "atproto openid profile repo:app.bsky.feed.like repo:app.bsky.feed.post";

async fn a_new_app_cannot_ride_on_the_silent_sign_in_of_the_pds(world: &World) {
    let mut browser = world.browser();
    browser.remembered = true;
    world.app().await.sign_in(&browser, world.alice()).await;

    // The PDS knows AIP and alice, and will not ask her again: AIP has to.
    let new = world.app().await;
    let pending = new.begin_authorization(&[("login_hint", world.alice().did.as_str())]);
    let at_pds = browser.open(&pending.url).await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    assert!(
        world
            .pds()
            .requests()
            .last()
            .unwrap()
            .path
            .ends_with("/authorize"),
        "no page there"
    );
    let before = world.dump().await;
    let page = browser.open(callback.as_str()).await;
    assert!(page.stayed() && page.has_form("consent"));
    let after = world.dump().await;
    for table in ["codes", "grants", "consents"] {
        assert_eq!(
            after.count(table),
            before.count(table),
            "no {table} without a click"
        );
    }
    assert_eq!(world.audit(AuditKind::GrantGiven).await.len(), 1);
    pending.code(&browser.allow(&page).await);
}

async fn a_decision_that_our_page_did_not_send_is_refused(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    let form = page.form("consent");
    let before = world.dump().await;

    let login_csrf = login.form("login").field("csrf").unwrap().to_owned();
    for csrf in ["", "made-up", &login_csrf] {
        let refused = browser
            .submit(form.clone().set("csrf", csrf), "allow")
            .await;
        refused
            .answer
            .expect_page(403, "another site")
            .logged("CSRF");
    }
    for (header, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
    ] {
        let url = format!("{BASE}/consent");
        let request = Request::post(&url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header, value);
        let body = serde_urlencoded::to_string(form.clone().press("allow")).unwrap();
        let refused = browser
            .follow(&url, request.body(body.into()).unwrap())
            .await;
        refused
            .answer
            .expect_page(403, "another site")
            .logged("caller");
    }
    let other = world.browser();
    other.open(&format!("{BASE}/login")).await;
    let refused = other.submit(form.clone(), "allow").await;
    refused.answer.expect_page(400, "This sign-in has ended");
    let request = form.field("request").unwrap();
    let url = format!("{BASE}/consent?request={request}");
    let seen = other.open(&url).await;
    seen.answer.expect_page(400, "This sign-in has ended");
    let without_cookie = world.browser().submit(form.clone(), "allow").await;
    without_cookie.answer.expect_page(403, "cookie");

    assert_eq!(
        world.dump().await.without(&["browser_sessions"]),
        before.without(&["browser_sessions"]),
        "nothing was spent or stored"
    );
    pending.code(&browser.submit(form, "allow").await.away());
}

async fn a_decision_is_taken_once_and_its_repeat_gets_the_same_answer(world: &World) {
    const OVER: &str = "This sign-in has ended";
    let app = world.app().await;
    let browser = world.browser();
    for (decision, other_decision) in [("allow", "deny"), ("deny", "allow")] {
        let pending = app.begin_authorization(&[("prompt", "consent select_account")]);
        let login = browser.open(&pending.url).await;
        let page = browser.sign_in(&login, world.alice()).await;
        let form = page.form("consent");
        let decide = async |browser: &Browser<'_>, decision: &str| {
            browser.submit(form.clone(), decision).await
        };
        let first = decide(&browser, decision).await.away();
        assert_eq!(decide(&browser, decision).await.away(), first);
        // Not another decision, not another browser, not after a while.
        let other = decide(&browser, other_decision).await;
        other.answer.expect_page(400, OVER);
        let stranger = world.browser();
        stranger.open(&format!("{BASE}/account")).await;
        let of_stranger = decide(&stranger, decision).await;
        of_stranger.answer.expect_page(400, OVER);
        world.pass(Duration::from_mins(1));
        let late = decide(&browser, decision).await;
        late.answer.expect_page(400, OVER);
    }
    assert_eq!(world.dump().await.count("grants"), 1);
}

async fn a_consent_is_for_one_app_and_its_scopes_only(world: &World) {
    let (app, other) = (world.app().await, world.app().await);
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;

    // Wider scopes: asked again, and told why.
    let wider = app.begin_authorization(&[("scope", WIDER), ("login_hint", "alice.test")]);
    let at_pds = browser.open(&wider.url).await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let page = browser.open(callback.as_str()).await;
    assert!(page.answer.text().contains("more than you allowed"));

    // The form of this request is no good for the other app's request.
    let login = browser
        .open(
            &other
                .begin_authorization(&[("prompt", "select_account")])
                .url,
        )
        .await;
    let others = browser.sign_in(&login, world.alice()).await;
    let request = others.form("consent").field("request").unwrap().to_owned();
    let before = world.dump().await;
    let mixed = browser
        .submit(page.form("consent").set("request", &request), "allow")
        .await;
    mixed.answer.expect_page(403, "another site").logged("CSRF");
    assert_eq!(world.dump().await, before);
}

async fn what_the_query_of_a_page_says_changes_no_stored_request(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let other_app = world.app().await;
    let evil = [
        ("scope", "atproto transition:generic"),
        ("redirect_uri", "https://evil.example/callback"),
        ("client_id", other_app.id.as_str()),
        ("state", "another"),
        ("code_challenge", "another"),
    ];
    let tampered = |path: &str, page: &Page, form: &str| {
        let request = page.form(form).field("request").unwrap().to_owned();
        let query = serde_urlencoded::to_string(evil).unwrap();
        format!("{BASE}{path}?request={request}&{query}")
    };
    let fill = |form: Form| {
        let evil = evil.iter();
        evil.fold(form, |form, (name, value)| form.set(name, value))
    };

    let login = browser.open(&tampered("/login", &login, "login")).await;
    let form = fill(login.form("login")).set("subject", "alice.test");
    let at_pds = browser.submit(form, "continue").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let consent = browser.open(callback.as_str()).await;
    let consent = browser
        .open(&tampered("/consent", &consent, "consent"))
        .await;
    assert!(!consent.answer.text().contains("transition:generic"));
    assert!(!consent.answer.text().contains("evil.example"));
    let back = browser
        .submit(fill(consent.form("consent")), "allow")
        .await
        .away();
    assert!(back.as_str().starts_with(REDIRECT));
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    assert_eq!(tokens.answer["scope"], SCOPE);
}

async fn a_person_is_asked_once_in_each_browser(world: &World) {
    let app = world.app().await;
    let (browser, other) = (world.browser(), world.browser());
    app.sign_in(&browser, world.alice()).await;

    let hint = ("login_hint", "alice.test");
    let again = app.begin_authorization(&[hint]);
    let back = browser.open(&again.url).await.away();
    Tokens::of(&app.redeem(&again, &again.code(&back)).await);

    let asked = app.begin_authorization(&[hint, ("prompt", "consent")]);
    assert!(browser.open(&asked.url).await.has_form("consent"));

    let elsewhere = app.begin_authorization(&[]);
    let login = other.open(&elsewhere.url).await;
    assert!(
        other
            .sign_in(&login, world.alice())
            .await
            .has_form("consent")
    );
}

async fn without_pages_the_app_is_told_what_is_missing(world: &World) {
    let (app, other) = (world.app().await, world.app().await);
    let browser = world.browser();
    let none = ("prompt", "none");
    let expect = async |app: &crate::app::App<'_>, changes: &[(&str, &str)], error: &str| {
        let pending = app.begin_authorization(changes);
        let page = browser.open(&pending.url).await;
        pending.refused(&page.away(), error);
    };
    expect(&app, &[none], "login_required").await;
    expect(&app, &[("prompt", "none login")], "invalid_request").await;

    app.sign_in(&browser, world.alice()).await;
    let pending = app.begin_authorization(&[none]);
    pending.code(&browser.open(&pending.url).await.away());
    expect(&app, &[none, ("login_hint", "bob.test")], "login_required").await;
    expect(&app, &[none, ("scope", WIDER)], "consent_required").await;
    expect(&other, &[none], "consent_required").await;

    let login = browser
        .open(&app.begin_authorization(&[("prompt", "select_account")]).url)
        .await;
    browser.sign_in(&login, world.bob()).await;
    expect(&app, &[none], "account_selection_required").await;
    let chosen = app.begin_authorization(&[none, ("login_hint", "alice.test")]);
    chosen.code(&browser.open(&chosen.url).await.away());
    expect(
        &app,
        &[none, ("login_hint", "carol.test")],
        "login_required",
    )
    .await;
    assert_eq!(world.dump().await.count("grants"), 3);
}
