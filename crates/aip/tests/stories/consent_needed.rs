//! When the person is asked whether an app may use their account, and when an earlier answer serves.

use aip_storage::client::{ApplicationType, ClientAuthMethod};
use url::Url;

use crate::app::{App, REDIRECT};
use crate::browser::{Browser, parameter};
use crate::consent::WIDER;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    the_page_says_who_wants_what_from_whom_and_where_it_leads,
    the_only_account_that_allowed_the_app_is_taken_unless_a_page_is_wanted,
    the_operators_own_app_is_not_asked_about_unless_it_wants_to,
    not_even_the_operators_own_program_gets_a_code_without_a_click,
    a_program_that_cannot_prove_which_one_it_is_is_asked_about_every_time,
);

/// Signs Alice in for the app and allows what is asked: where the app is told.
async fn allowed(app: &App<'_>, browser: &Browser<'_>, changes: &[(&str, &str)]) -> Url {
    let login = browser.open(&app.begin_authorization(changes).url).await;
    let page = browser.sign_in(&login, app.world.alice()).await;
    if page.stayed() {
        browser.allow(&page).await
    } else {
        page.away()
    }
}

/// A public program of the person's device.
async fn native<'w>(world: &'w World, redirect_uri: &str, first_party: bool) -> App<'w> {
    App::register(world, |settings| {
        settings.application_type = ApplicationType::Native;
        settings.auth_method = ClientAuthMethod::None;
        settings.redirect_uris = vec![redirect_uri.parse().unwrap()];
        settings.first_party = first_party;
    })
    .await
}

async fn the_page_says_who_wants_what_from_whom_and_where_it_leads(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let login = browser.open(&app.begin_authorization(&[]).url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    for words in [
        "Example App",
        app.id.as_str(),
        "app.example.org",
        world.alice().handle.as_str(),
        world.alice().did.as_str(),
        "You have not allowed this app in this browser before.",
        "posts",
        "repo:app.bsky.feed.post",
        "id=\"allow\"",
        "id=\"deny\"",
    ] {
        assert!(page.answer.text().contains(words), "{words}: {page:?}");
    }
}

async fn the_only_account_that_allowed_the_app_is_taken_unless_a_page_is_wanted(world: &World) {
    let (app, other) = (world.app().await, world.app().await);
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let pending = app.begin_authorization(&[]);
    pending.code(&browser.open(&pending.url).await.away());
    for change in [
        ("prompt", "select_account"),
        ("prompt", "login"),
        ("prompt", "consent"),
        ("max_age", "0"),
        ("scope", WIDER),
        ("login_hint", "somebody.else.example"),
    ] {
        let page = browser.open(&app.begin_authorization(&[change]).url).await;
        let app_told = !page.stayed() && page.away().as_str().starts_with(REDIRECT);
        assert!(!app_told, "{change:?}");
    }
    let page = browser.open(&other.begin_authorization(&[]).url).await;
    assert!(page.has_form("login"), "another app: {page:?}");
    let login = browser.open(&format!("{BASE}/login")).await;
    browser.sign_in(&login, world.bob()).await;
    let page = browser.open(&app.begin_authorization(&[]).url).await;
    assert!(page.has_form("login"), "which of the two? {page:?}");
}

async fn the_operators_own_app_is_not_asked_about_unless_it_wants_to(world: &World) {
    let app = App::register(world, |settings| settings.first_party = true).await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    pending.code(&page.away());
    let asking = app.begin_authorization(&[("login_hint", "alice.test"), ("prompt", "consent")]);
    assert!(browser.open(&asking.url).await.has_form("consent"));
}

async fn not_even_the_operators_own_program_gets_a_code_without_a_click(world: &World) {
    for redirect_uri in [
        "http://127.0.0.1/callback",
        "http://[::1]:4711/callback",
        "http://localhost/callback",
        "com.example.app:/callback",
    ] {
        let app = native(world, redirect_uri, true).await;
        let redirect = ("redirect_uri", redirect_uri);
        let browser = world.browser();
        allowed(&app, &browser, &[redirect]).await;
        let again = app.begin_authorization(&[redirect, ("login_hint", "alice.test")]);
        let page = browser.open(&again.url).await;
        assert!(page.has_form("consent"), "{redirect_uri}: {page:?}");
        let silent = app.begin_authorization(&[redirect, ("prompt", "none")]);
        let back = browser.open(&silent.url).await.away();
        let error = parameter(&back, "error");
        assert_eq!(error.as_deref(), Some("consent_required"), "{redirect_uri}");
    }
}

async fn a_program_that_cannot_prove_which_one_it_is_is_asked_about_every_time(world: &World) {
    for (redirect_uri, asked_again) in [
        ("http://127.0.0.1/callback", true),
        ("com.example.app:/callback", true),
        ("https://app.example/callback", false),
    ] {
        let app = native(world, redirect_uri, false).await;
        let redirect = ("redirect_uri", redirect_uri);
        let browser = world.browser();
        allowed(&app, &browser, &[redirect]).await;
        let again = app.begin_authorization(&[redirect, ("login_hint", "alice.test")]);
        let page = browser.open(&again.url).await;
        let asked = page.answer.text().contains("could pretend to be it");
        assert_eq!(asked, asked_again, "{redirect_uri}: {page:?}");
        let silent = app.begin_authorization(&[redirect, ("prompt", "none")]);
        let back = browser.open(&silent.url).await.away();
        let expected = asked_again.then(|| "consent_required".to_owned());
        assert_eq!(parameter(&back, "error"), expected, "{redirect_uri}");
    }
}
