//! The names of AIP v1 (`compat.v1`): each path answers with the shape that v1's apps rely on, on the
//! services of AIP, and nothing of v1's faults is back.

mod api;
mod sign_in;

use std::time::Duration;

use aip_http::V1Names;
use aip_storage::client::ClientId;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{Method, Request};
use url::Url;

use crate::answer::Answer;
use crate::app::{App, REDIRECT, SCOPE, Tokens};
use crate::browser::{Browser, Page, parameter};
use crate::world::{BASE, World};

const JSON: (&str, &str) = ("content-type", "application/json");
const HOME: &str = "https://app.example.org/home";

/// The app that v1's names are for: it keeps a secret, and brings no PKCE.
async fn v1_app(world: &World) -> App<'_> {
    v1_app_with(world, SCOPE, |_| {}).await
}

async fn v1_app_with<'w>(
    world: &'w World,
    scope: &str,
    change: impl Fn(&mut V1Names) + Send + Sync + 'static,
) -> App<'w> {
    let app = App::register(world, |settings| {
        settings.redirect_uris = [REDIRECT, HOME].map(|it| it.parse().unwrap()).to_vec();
        settings.require_pkce = false;
        settings.scope = scope.parse().unwrap();
        settings.access_token_ttl = Duration::from_hours(24);
    });
    let app = app.await;
    switch_on(world, app.id.clone(), change).await;
    app
}

async fn switch_on(
    world: &World,
    client: ClientId,
    change: impl Fn(&mut V1Names) + Send + Sync + 'static,
) {
    let configured = move |config: &mut aip::app::AppConfig| {
        let mut names = V1Names::new(client.clone());
        change(&mut names);
        config.v1 = Some(names);
    };
    world.restart_configured(configured).await;
}

/// Sends the form that v1's apps have on their own pages.
async fn send_form(browser: &Browser<'_>, form: &[(&str, &str)]) -> Page {
    let url = format!("{BASE}/auth/atproto");
    let request = Request::post(&url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ORIGIN, "https://app.example.org")
        .header("sec-fetch-site", "cross-site");
    let body = serde_urlencoded::to_string(form).unwrap();
    browser
        .follow(&url, request.body(body.into()).unwrap())
        .await
}

/// From the form of v1 to where the app is told, by alice.
async fn sign_in(world: &World, form: &[(&str, &str)]) -> Url {
    let browser = world.browser();
    let at_pds = send_form(&browser, form).await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let consent = browser.open(callback.as_str()).await;
    browser.allow(&consent).await
}

/// Exchanges the code that a destination got.
async fn exchange(app: &App<'_>, back: &Url, destination: &str, more: &[(&str, &str)]) -> Answer {
    let code = parameter(back, "code").unwrap();
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", destination),
    ];
    form.extend(more);
    app.token(&form).await
}

async fn signed_in(app: &App<'_>) -> Tokens {
    let form = [
        ("subject", app.world.alice().handle.as_str()),
        ("destination", REDIRECT),
    ];
    let back = sign_in(app.world, &form).await;
    Tokens::of(&exchange(app, &back, REDIRECT, &[]).await)
}

async fn get(app: &App<'_>, access: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    app.call(&Method::GET, path, access, headers, Bytes::new())
        .await
}

async fn post(app: &App<'_>, access: &str, path: &str, body: &str) -> Answer {
    let body = body.to_owned().into();
    app.call(&Method::POST, path, access, &[JSON], body).await
}
