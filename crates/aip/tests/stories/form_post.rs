//! `response_mode=form_post` (OAuth 2.0 Form Post Response Mode): the answer is a form that the browser
//! posts to the app.

use aip_storage::client::ApplicationType;
use serde_json::json;

use crate::app::{App, PendingAuthorization, REDIRECT, Tokens};
use crate::browser::Page;
use crate::html::Form;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_code_is_posted_to_the_app,
    errors_are_posted_too,
    a_second_click_gets_the_same_form,
    a_fragment_is_refused_and_so_is_a_form_for_a_program,
    what_the_app_sent_is_escaped_in_the_form,
);

const FORM_POST: (&str, &str) = ("response_mode", "form_post");

/// The form that the browser posts, the page around it checked.
fn form_of(world: &World, page: &Page) -> Form {
    assert_eq!(page.answer.status, 200, "{}", page.answer.text());
    assert_eq!(page.answer.header("cache-control"), "no-store");
    let form = page.form("answer");
    assert_eq!(form.action, REDIRECT);
    if let Some(code) = form.field("code") {
        world.secrets.learn("a code", code);
    }
    assert_eq!(form.field("iss"), Some(BASE));
    // A button for who has no scripts, and a script that only this page can have.
    form.clone().press("continue");
    let policy = page.answer.header("content-security-policy");
    assert!(
        policy.contains("form-action https://app.example.org;"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap();
    let nonce = nonce.split('\'').next().unwrap();
    assert!(nonce.len() >= 22, "{policy}");
    let scripts: Vec<_> = page.answer.text().split("<script").skip(1).collect();
    assert_eq!(scripts.len(), 1);
    assert!(scripts[0].starts_with(&format!(" nonce=\"{nonce}\">")));
    form
}

fn code_in(pending: &PendingAuthorization, form: &Form) -> String {
    assert_eq!(form.field("state"), Some(pending.state.as_str()));
    form.field("code").unwrap().to_owned()
}

async fn a_code_is_posted_to_the_app(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[FORM_POST]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let page = browser.submit(consent.form("consent"), "allow").await;
    let code = code_in(&pending, &form_of(world, &page));
    Tokens::of(&app.redeem(&pending, &code).await);

    // Without any page of ours in between, and in a query if that is what the app asks for.
    let silent = app.begin_authorization(&[FORM_POST, ("prompt", "none")]);
    let page = browser.open(&silent.url).await;
    let code = code_in(&silent, &form_of(world, &page));
    Tokens::of(&app.redeem(&silent, &code).await);
    let query = app.begin_authorization(&[("response_mode", "query"), ("prompt", "none")]);
    query.code(&browser.open(&query.url).await.away());

    let document = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(
        document["response_modes_supported"],
        json!(["query", "form_post"])
    );
}

async fn errors_are_posted_too(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let before = world.dump().await;
    for (change, error) in [
        (("scope", "atproto identity:handle"), "invalid_scope"),
        (("response_type", "token"), "unsupported_response_type"),
        (("prompt", "none"), "login_required"),
        (("id_token_hint", "garbage"), "invalid_request"),
    ] {
        let pending = app.begin_authorization(&[FORM_POST, change]);
        let page = browser.open(&pending.url).await;
        let form = form_of(world, &page);
        assert_eq!(form.field("error"), Some(error));
        assert_eq!(form.field("state"), Some(pending.state.as_str()));
        assert!(form.field("error_description").is_some());
        assert_eq!(form.field("code"), None);
        page.answer.logged(error);
    }
    assert_eq!(world.dump().await, before, "nothing was stored");

    let pending = app.begin_authorization(&[FORM_POST]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let page = browser.submit(consent.form("consent"), "deny").await;
    let form = form_of(world, &page);
    assert_eq!(form.field("error"), Some("access_denied"));
    assert_eq!(form.field("state"), Some(pending.state.as_str()));
}

async fn a_second_click_gets_the_same_form(world: &World) {
    let app = world.app().await;
    for button in ["allow", "deny"] {
        let browser = world.browser();
        let pending = app.begin_authorization(&[FORM_POST, ("prompt", "consent")]);
        let login = browser.open(&pending.url).await;
        let consent = browser.sign_in(&login, world.alice()).await;
        let first = browser.submit(consent.form("consent"), button).await;
        let second = browser.submit(consent.form("consent"), button).await;
        for name in ["code", "error", "state"] {
            let (first, second) = (form_of(world, &first), form_of(world, &second));
            assert_eq!(first.field(name), second.field(name), "{name}");
        }
    }
}

async fn a_fragment_is_refused_and_so_is_a_form_for_a_program(world: &World) {
    let app = world.app().await;
    for mode in ["fragment", "web_message", "form_post.jwt"] {
        let pending = app.begin_authorization(&[("response_mode", mode)]);
        let back = world.browser().open(&pending.url).await.away();
        let told = pending.refused(&back, "invalid_request");
        assert!(told.contains("response_mode"), "{told}");
        assert_eq!(back.fragment(), None);
    }
    let program = "org.example.app:/callback";
    let native = App::register(world, |settings| {
        settings.application_type = ApplicationType::Native;
        settings.redirect_uris = vec![program.parse().unwrap()];
    });
    let pending = native
        .await
        .begin_authorization(&[FORM_POST, ("redirect_uri", program)]);
    let back = world.browser().open(&pending.url).await.away();
    assert!(back.as_str().starts_with(program), "{back}");
    assert!(back.as_str().contains("error=invalid_request"), "{back}");
}

async fn what_the_app_sent_is_escaped_in_the_form(world: &World) {
    let app = world.app().await;
    let state = "\"></form><script>alert(1)</script>'&amp;";
    let pending = app.begin_authorization(&[FORM_POST, ("state", state), ("prompt", "none")]);
    let page = world.browser().open(&pending.url).await;
    assert_eq!(form_of(world, &page).field("state"), Some(state));
}
