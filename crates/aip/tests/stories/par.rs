//! Pushed authorization requests (RFC 9126): checked and stored before the person is sent, begun
//! once, by whoever pushed them.

use std::time::Duration;

use aip_base::Clock as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use url::Url;

use crate::answer::Answer;
use crate::app::{App, PendingAuthorization, Tokens, basic_credential};
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::{BASE, Engine, World};

on_both_engines!(
    a_pushed_request_leads_to_tokens_and_is_spent,
    nothing_in_the_link_but_the_client_counts,
    the_sign_in_page_may_be_loaded_again_until_its_form_is_sent,
    of_fifty_uses_of_a_request_uri_one_gets_a_code,
    a_request_uri_is_for_the_client_that_pushed_it_and_for_its_time,
    a_request_that_is_refused_without_a_page_is_spent,
    every_check_runs_when_a_request_is_pushed,
    a_client_proves_itself_to_push_a_request,
    a_proof_binds_the_code_of_a_pushed_request,
    a_client_that_must_push_is_refused_without,
    a_server_can_demand_it_of_every_client,
    requests_in_the_name_of_public_clients_are_limited_by_network,
    a_pushed_request_costs_one_statement_besides_its_limit,
);

const PAR: &str = "/oauth/par";

/// What the person reads whose link has expired.
const LINK_EXPIRED: &str = "This link from the app has expired";

/// The parameters of an authorization request as a form; the client id comes with the authentication.
fn form_of(pending: &PendingAuthorization) -> Vec<(String, String)> {
    let url = Url::parse(&pending.url).unwrap();
    let pairs = url.query_pairs().into_owned();
    pairs.filter(|(name, _)| name != "client_id").collect()
}

async fn push(app: &App<'_>, pending: &PendingAuthorization) -> Answer {
    let form = form_of(pending);
    let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = app.post(PAR, &form).await;
    if answer.status.is_success() {
        let uri = answer.json()["request_uri"].as_str().unwrap().to_owned();
        app.world.secrets.learn("a request_uri", &uri);
    }
    answer
}

/// The `request_uri` of a request that was pushed.
#[track_caller]
fn request_uri(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    let lives = body["expires_in"].as_u64().unwrap();
    assert!((60..600).contains(&lives), "{lives}");
    let uri = body["request_uri"].as_str().unwrap();
    let name = uri.strip_prefix("urn:ietf:params:oauth:request_uri:");
    assert!(name.unwrap().len() >= 22, "128 bits at least: {uri}");
    uri.to_owned()
}

fn link(app: &App<'_>, request_uri: &str) -> String {
    let query = [("client_id", app.id.as_str()), ("request_uri", request_uri)];
    let query = serde_urlencoded::to_string(query).unwrap();
    format!("{BASE}/oauth/authorize?{query}")
}

async fn a_pushed_request_leads_to_tokens_and_is_spent(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[]);
    let uri = request_uri(&push(&app, &pending).await);
    let url = link(&app, &uri);
    let browser = world.browser();
    let login = browser.open(&url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    // The person signs in for it: the link is spent before they have decided.
    let again = world.browser().open(&url).await;
    again
        .answer
        .expect_page(400, LINK_EXPIRED)
        .logged("invalid_request_uri");
    let back = browser.allow(&consent).await;
    Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);

    let before = world.state().await;
    for browser in [&browser, &world.browser()] {
        let page = browser.open(&url).await;
        page.answer.expect_page(400, LINK_EXPIRED);
    }
    assert_eq!(world.state().await, before);
}

async fn nothing_in_the_link_but_the_client_counts(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[]);
    let uri = request_uri(&push(&app, &pending).await);
    let extra = "redirect_uri=https%3A%2F%2Fevil.example%2F&state=evil&scope=atproto&prompt=none\
                 &response_type=token&request=x";
    let browser = world.browser();
    let login = browser.open(&format!("{}&{extra}", link(&app, &uri))).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let back = browser.allow(&consent).await;
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    assert_eq!(tokens.answer["scope"], crate::app::SCOPE);
}

async fn the_sign_in_page_may_be_loaded_again_until_its_form_is_sent(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[]);
    let url = link(&app, &request_uri(&push(&app, &pending).await));
    let (browser, other) = (world.browser(), world.browser());
    let pages = [browser.open(&url).await, browser.open(&url).await];
    let elsewhere = other.open(&url).await;
    let consent = browser.sign_in(&pages[1], world.alice()).await;
    for (browser, page) in [(&browser, &pages[0]), (&other, &elsewhere)] {
        let late = browser
            .sign_in_as(page, world.alice().handle.as_str())
            .await;
        late.answer.expect_page(400, "This sign-in has ended");
    }
    let back = browser.allow(&consent).await;
    Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
}

async fn of_fifty_uses_of_a_request_uri_one_gets_a_code(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let pending = app.begin_authorization(&[]);
    let url = link(&app, &request_uri(&push(&app, &pending).await));
    let tabs: Vec<_> = (0..50).map(|_| browser.tab()).collect();
    let pages = join_all(tabs.iter().map(|tab| tab.open(&url))).await;
    let mut codes = Vec::new();
    for page in &pages {
        if page.stayed() {
            // It was spent before this tab looked at it, or while it did.
            let text = page.answer.text();
            assert_eq!(page.answer.status, 400, "{text}");
            assert!(
                text.contains("This sign-in has ended") || text.contains(LINK_EXPIRED),
                "{text}"
            );
        } else {
            codes.push(pending.code(&page.away()));
        }
    }
    assert_eq!(codes.len(), 1);
    Tokens::of(&app.redeem(&pending, &codes[0]).await);
}

async fn a_request_uri_is_for_the_client_that_pushed_it_and_for_its_time(world: &World) {
    let (app, other) = (world.app().await, world.app().await);
    let uri = request_uri(&push(&app, &app.begin_authorization(&[])).await);
    let unknown = "urn:ietf:params:oauth:request_uri:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let before = world.dump().await;
    for url in [link(&other, &uri), link(&app, unknown)] {
        let page = world.browser().open(&url).await;
        page.answer
            .expect_page(400, LINK_EXPIRED)
            .logged("invalid_request_uri");
    }
    assert_eq!(world.dump().await, before);
    assert!(
        world
            .browser()
            .open(&link(&app, &uri))
            .await
            .has_form("login")
    );

    let browser = world.browser();
    let login = browser.open(&link(&app, &uri)).await;
    world.pass(Duration::from_mins(10));
    let page = world.browser().open(&link(&app, &uri)).await;
    page.answer.expect_page(400, LINK_EXPIRED);
    let late = browser
        .sign_in_as(&login, world.alice().handle.as_str())
        .await;
    late.answer.expect_page(400, LINK_EXPIRED);
}

async fn a_request_that_is_refused_without_a_page_is_spent(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[("prompt", "none")]);
    let url = link(&app, &request_uri(&push(&app, &pending).await));
    let page = world.browser().open(&url).await;
    pending.refused(&page.away(), "login_required");
    let page = world.browser().open(&url).await;
    page.answer.expect_page(400, LINK_EXPIRED);
}

async fn every_check_runs_when_a_request_is_pushed(world: &World) {
    let app = world.app().await;
    let before = world.dump().await;
    let long = "s".repeat(17 * 1024);
    for (name, value, error) in [
        (
            "redirect_uri",
            "https://evil.example/callback",
            "invalid_request",
        ),
        ("redirect_uri", "", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("response_mode", "fragment", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("scope", "atproto identity:handle", "invalid_scope"),
        ("prompt", "none login", "invalid_request"),
        ("max_age", "soon", "invalid_request"),
        ("state", &long, "invalid_request"),
        (
            "request_uri",
            "urn:ietf:params:oauth:request_uri:x",
            "invalid_request",
        ),
        ("request", "e30.e30.", "request_not_supported"),
    ] {
        let answer = push(&app, &app.begin_authorization(&[(name, value)])).await;
        answer.expect(400, error).logged("caller");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let twice = [("scope", "atproto"), ("scope", "atproto")];
    app.post(PAR, &twice).await.expect(400, "invalid_request");
    let large = "x".repeat(65 * 1024);
    app.post(PAR, &[("state", &large)])
        .await
        .expect(413, "invalid_request");
    let get = Request::get(format!("{BASE}{PAR}")).body(Bytes::new());
    let answer = world.send(get.unwrap()).await;
    answer.expect(405, "invalid_request");
    assert_eq!(answer.header("allow"), "POST, OPTIONS");
    assert_eq!(world.dump().await, before, "nothing was stored");
}

async fn a_client_proves_itself_to_push_a_request(world: &World) {
    let app = world.app().await;
    let before = world.state().await;
    let form = form_of(&app.begin_authorization(&[]));
    let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let wrong = basic_credential(app.id.as_str(), "wrong");
    let answer = app.post_as(PAR, Some(&wrong), &form).await;
    answer.expect(401, "invalid_client").logged("caller");
    assert!(answer.header("www-authenticate").starts_with("Basic "));
    let answer = app.post_as(PAR, None, &form).await;
    answer.expect(401, "invalid_client");
    let named = [form.as_slice(), &[("client_id", app.id.as_str())]].concat();
    let answer = app.post_as(PAR, None, &named).await;
    answer.expect(401, "invalid_client");
    assert_eq!(world.state().await, before);
}

async fn a_proof_binds_the_code_of_a_pushed_request(world: &World) {
    let app = world.app().await.with_dpop();
    let pending = app.begin_authorization(&[]);
    let url = link(&app, &request_uri(&push(&app, &pending).await));
    let browser = world.browser();
    let login = browser.open(&url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let code = pending.code(&browser.allow(&consent).await);
    for other in [app.without_key(), app.with_another_key()] {
        let answer = other.redeem(&pending, &code).await;
        answer.expect(400, "invalid_grant").logged("DPoP key");
    }
    Tokens::of(&app.redeem(&pending, &code).await);

    let jkt = app.key().public().thumbprint();
    let same = app.begin_authorization(&[("dpop_jkt", jkt.as_str())]);
    request_uri(&push(&app, &same).await);
    let answer = push(&app.with_another_key(), &same).await;
    answer.expect(400, "invalid_request").logged("dpop_jkt");
}

async fn a_client_that_must_push_is_refused_without(world: &World) {
    let app = App::register(world, |settings| settings.require_par = true).await;
    let pending = app.begin_authorization(&[]);
    let page = world.browser().open(&pending.url).await;
    pending.refused(&page.away(), "invalid_request");
    page.answer.logged("must be pushed");

    // Nor does it help to bring the sign-in page what it would carry.
    let other = world.app().await;
    let login = world
        .browser()
        .open(&other.begin_authorization(&[]).url)
        .await;
    let carried = login.form("login").field("request").unwrap().to_owned();
    let (before, _) = carried.rsplit_once('.').unwrap();
    let query = Url::parse(&pending.url)
        .unwrap()
        .query()
        .unwrap()
        .to_owned();
    let query = URL_SAFE_NO_PAD.encode(query);
    let page = world.browser();
    let page = page
        .open(&format!("{BASE}/login?request={before}.{query}"))
        .await;
    pending.refused(&page.away(), "invalid_request");

    let url = link(&app, &request_uri(&push(&app, &pending).await));
    let browser = world.browser();
    let login = browser.open(&url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let back = browser.allow(&consent).await;
    Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
}

async fn a_server_can_demand_it_of_every_client(world: &World) {
    const METADATA: &str = "/.well-known/oauth-authorization-server";
    let told = world.get(METADATA).await.ok();
    assert_eq!(
        told["pushed_authorization_request_endpoint"],
        format!("{BASE}{PAR}")
    );
    assert_eq!(told["require_pushed_authorization_requests"], false);
    let app = world.app().await;
    world
        .restart_configured(|config| config.require_par = true)
        .await;
    assert_eq!(
        world.get(METADATA).await.ok()["require_pushed_authorization_requests"],
        true
    );
    let pending = app.begin_authorization(&[]);
    let page = world.browser().open(&pending.url).await;
    pending.refused(&page.away(), "invalid_request");
    let url = link(&app, &request_uri(&push(&app, &pending).await));
    assert!(world.browser().open(&url).await.has_form("login"));
}

async fn a_pushed_request_costs_one_statement_besides_its_limit(world: &World) {
    let app = world.app().await;
    let mut costs = Vec::new();
    // PostgreSQL counts for all replicas where there is no Valkey, SQLite has one process.
    let expected = 1 + u64::from(world.engine() == Engine::Postgres);
    // At first the client is read, and again when a second has passed.
    while costs.len() < 20 && !costs.contains(&expected) {
        let pushed = push(&app, &app.begin_authorization(&[])).await;
        request_uri(&pushed);
        costs.push(statements(world, &pushed));
    }
    assert!(costs.iter().all(|cost| *cost >= expected), "{costs:?}");
    assert!(costs.contains(&expected), "{costs:?}");
}

async fn requests_in_the_name_of_public_clients_are_limited_by_network(world: &World) {
    let (public, confidential) = (world.public_app().await, world.app().await);
    let push_from = |app: &App<'_>, network: &str| {
        let mut form = form_of(&app.begin_authorization(&[]));
        form.push(("client_id".to_owned(), app.id.to_string()));
        let request = Request::post(format!("{BASE}{PAR}"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("x-forwarded-for", network);
        let request = match &app.secret {
            Some(secret) => {
                request.header(AUTHORIZATION, basic_credential(app.id.as_str(), secret))
            }
            None => request,
        };
        let body = serde_urlencoded::to_string(form).unwrap();
        world.send(request.body(Bytes::from(body)).unwrap())
    };
    for _ in 0..60 {
        request_uri(&push_from(&public, "203.0.113.9").await);
    }
    let refused = push_from(&public, "203.0.113.9").await;
    refused
        .expect(429, "temporarily_unavailable")
        .logged("over the limit `pushed_requests`");
    request_uri(&push_from(&public, "203.0.113.10").await);
    request_uri(&push_from(&confidential, "203.0.113.9").await);
    let kept = async || world.state().await.count("authorization_requests");
    assert_eq!(kept().await, 62);
    world.pass(Duration::from_mins(10));
    let storage = &world.aip().app.server.storage;
    storage
        .purge_expired(world.clock.now(), 1000)
        .await
        .unwrap();
    assert_eq!(kept().await, 0);
}
