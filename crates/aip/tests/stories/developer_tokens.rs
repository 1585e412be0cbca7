//! Developer tokens: alice makes one for a script, on her account page or by the link of an operator. What it
//! does and does not do, and how it ends.

use std::time::Duration;

use aip_base::Clock as _;
use aip_oauth::developer_tokens::OrderedToken;
use aip_sandbox::{Decision, Endpoint, Lie};
use aip_storage::audit::AuditKind;
use aip_storage::client::{GrantType, GrantTypes};
use aip_storage::developer_token::{DEVELOPER_TOKEN_ORDER_LIFE, MAX_DEVELOPER_TOKENS};
use aip_storage::session_read::MAX_READ_AGE;
use bytes::Bytes;
use http::{Method, Request};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::app::App;
use crate::browser::{Browser, Page};
use crate::html::Form;
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_token_is_shown_once_and_does_what_its_owner_chose,
    a_revoked_token_ends_within_a_second_at_every_replica,
    a_token_ends_with_its_time_or_its_session,
    a_token_acts_for_others_as_far_as_they_allow_it,
    no_client_is_that_of_developer_tokens,
    nobody_makes_a_token_by_a_form_that_is_not_right,
    an_account_has_at_most_20_tokens,
    a_token_that_is_ordered_is_made_once_by_the_account_that_it_is_for,
);

const CREATE: &str = "com.atproto.repo.createRecord";
const PREFIX: &str = "aip_pt_";
const CLIENT: &str = "aip:developer-tokens";

fn account_page() -> String {
    format!("{BASE}/account")
}

/// Alice's browser, at the account page.
async fn alices_browser(world: &World) -> (Browser<'_>, Page) {
    let browser = world.browser();
    let login = browser.open(&account_page()).await;
    let page = browser.sign_in(&login, world.alice()).await;
    (browser, page)
}

/// The form by which she makes a token for posts.
fn form(page: &Page) -> Form {
    let form = Form::by_id(page.answer.text(), "make-token-1").unwrap();
    form.set("name", "CI of the blog").set("preset", "posts")
}

/// The token on a page that shows one.
fn token_on(page: &Page) -> Option<String> {
    let text = page.answer.text();
    let from = text.find(PREFIX)?;
    let token = text[from..].split('"').next()?;
    Some(token.to_owned())
}

/// She makes a token for so many days. Returns it, with her browser and where the PDS had sent it.
pub(crate) async fn made<'w>(world: &'w World, days: &str) -> (String, Browser<'w>, String) {
    let (browser, page) = alices_browser(world).await;
    let at_pds = browser
        .submit(form(&page).set("days", days), "make-token")
        .await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let page = browser.open(callback.as_str()).await;
    let token = token_on(&page).unwrap_or_else(|| panic!("{page:?}"));
    world.secrets.learn("a developer token", &token);
    (token, browser, callback.into())
}

fn record(world: &World, collection: &str) -> Value {
    json!({
        "repo": world.alice().did.as_str(),
        "collection": collection,
        "record": {
            "$type": collection,
            "text": "by a script",
            "createdAt": "2026-01-01T00:00:00Z",
        },
    })
}

async fn revoke(browser: &Browser<'_>) {
    let page = browser.open(&account_page()).await;
    let csrf = page.form("sign-out").field("csrf").unwrap().to_owned();
    let mut forms = Form::all_with(page.answer.text(), "csrf", &csrf);
    forms.retain(|form| form.has_button("revoke-token"));
    let page = browser.submit(forms.remove(0), "revoke-token").await;
    assert!(!page.answer.text().contains("data-token"), "{page:?}");
}

async fn a_token_is_shown_once_and_does_what_its_owner_chose(world: &World) {
    let (token, browser, callback) = made(world, "30").await;
    let asked = world.pds().requests_to(Endpoint::Par);
    let asked = String::from_utf8_lossy(&asked.last().unwrap().body).into_owned();
    assert!(asked.contains("prompt=login"), "she signs in anew: {asked}");
    let again = browser.open(&callback).await;
    again.answer.expect_page(400, "start again");
    assert_eq!(token_on(&again), None);
    let page = browser.open(&account_page()).await;
    for words in ["CI of the blog", "not used yet"] {
        assert!(page.answer.text().contains(words), "{page:?}");
    }
    assert_eq!(token_on(&page), None, "shown once");
    assert_eq!(world.audit(AuditKind::DeveloperTokenMade).await.len(), 1);

    // What she chose, and nothing else.
    let app = App::register(world, |settings| {
        let grants = vec![
            GrantType::AuthorizationCode,
            GrantType::RefreshToken,
            GrantType::TokenExchange,
        ];
        settings.grant_types = GrantTypes::try_from(grants).unwrap();
    });
    let app = app.await;
    let post = record(world, "app.bsky.feed.post");
    let written = app.procedure(&token, CREATE, &post).await.ok();
    let repository = format!("at://{}/", world.alice().did);
    assert!(written["uri"].as_str().unwrap().starts_with(&repository));
    let sent = world.pds().requests().len();
    let like = record(world, "app.bsky.feed.like");
    let refused = app.procedure(&token, CREATE, &like).await;
    refused.expect(403, "insufficient_scope");
    assert_eq!(world.pds().requests().len(), sent, "it did not leave");
    // Who she is, and never what her session is made of.
    let userinfo = app.userinfo(&token).await.ok();
    assert_eq!(userinfo["sub"], world.alice().did.as_str());
    assert_eq!(
        userinfo["preferred_username"],
        world.alice().handle.as_str()
    );
    assert_eq!(userinfo.get("email"), None);
    let path = "/api/atprotocol/session";
    let session = app.call(&Method::GET, path, &token, &[], Bytes::new());
    let session = session.await.ok();
    assert_eq!(session["did"], world.alice().did.as_str());
    for name in ["access_token", "dpop_key", "dpop_jwk"] {
        assert_eq!(session.get(name), None);
    }

    // No app knows of it, may exchange it or ends it, and it gives no app password.
    let before = world.state().await;
    assert_eq!(app.introspect(&token).await.ok()["active"], false);
    let exchange = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", &token),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("requested_subject", world.bob().did.as_str()),
    ];
    let refused = app.token(&exchange).await;
    refused.expect(400, "invalid_request");
    app.refresh(&token).await.expect(400, "invalid_grant");
    app.revoke(&token).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (method, body) in [
        (Method::GET, ""),
        (Method::POST, "app-password=abcd-abcd-abcd-abcd"),
        (Method::DELETE, ""),
    ] {
        let path = "/api/atprotocol/app-password";
        let refused = app.call(&method, path, &token, &form, Bytes::from(body));
        refused.await.expect(403, "insufficient_scope");
    }
    assert_eq!(world.state().await, before);
    app.query(&token, GET_SESSION).await.ok();

    // She sees when it was used, by the hour, and neither that it is an app's.
    let page = browser.open(&account_page()).await;
    assert!(page.answer.text().contains("last used in the hour from"));
    assert!(Form::with_field(page.answer.text(), "client_id", CLIENT).is_none());
    let used = async || {
        world
            .texts("SELECT CAST(last_used_at AS TEXT) FROM developer_tokens")
            .await
    };
    let first = used().await;
    world.pass(Duration::from_mins(61));
    app.query(&token, GET_SESSION).await.ok();
    assert_ne!(used().await, first);
}

async fn a_revoked_token_ends_within_a_second_at_every_replica(world: &World) {
    let one = world.replica().await;
    let other = world.aip();
    let (token, browser, _) = made(world, "30").await;
    let app = world.app().await;
    for replica in [&one, &other] {
        world.lead_to(replica);
        app.query(&token, GET_SESSION).await.ok();
    }
    revoke(&browser).await;
    // The replica that was asked knows at once.
    let refused = app.query(&token, GET_SESSION).await;
    refused.expect(401, "invalid_token");
    world.pass(MAX_READ_AGE);
    let asked = world.pds().requests().len();
    for replica in [&one, &other] {
        world.lead_to(replica);
        let refused = app.query(&token, GET_SESSION).await;
        refused.expect(401, "invalid_token");
        app.userinfo(&token).await.expect(401, "invalid_token");
    }
    assert_eq!(world.pds().requests().len(), asked, "none of it left");
    assert_eq!(world.audit(AuditKind::DeveloperTokenRevoked).await.len(), 1);
    // Her PDS is told, too.
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
}

async fn a_token_ends_with_its_time_or_its_session(world: &World) {
    let (token, _, _) = made(world, "1").await;
    let app = world.app().await;
    let minute = Duration::from_mins(1);
    world.pass(Duration::from_mins(24 * 60 - 1));
    app.query(&token, GET_SESSION).await.ok();
    world.pass(minute);
    let refused = app.query(&token, GET_SESSION).await;
    refused.expect(401, "invalid_token");
    app.userinfo(&token).await.expect(401, "invalid_token");
    let now = world.clock.now();
    let storage = world.aip().app.server.storage.clone();
    let hour_ago = now - Duration::from_hours(1);
    let ended = storage.end_expired_grants(hour_ago, now, 10).await;
    assert_eq!(ended.unwrap(), 1);
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);

    // Her host ends the session: the token is over, and not shown any more.
    let (token, browser, _) = made(world, "365").await;
    app.query(&token, GET_SESSION).await.ok();
    world.pds().end_sessions(&world.alice().did);
    world.pass(Duration::from_hours(2));
    for _ in 0..2 {
        let refused = app.query(&token, GET_SESSION).await;
        refused.expect(401, "invalid_token");
    }
    let page = browser.open(&account_page()).await;
    assert!(!page.answer.text().contains("data-token"), "{page:?}");
}

async fn a_token_acts_for_others_as_far_as_they_allow_it(world: &World) {
    let (token, _, _) = made(world, "30").await;
    let app = world.app().await;
    let bob = world.bob().did.as_str();
    let headers = [("content-type", "application/json"), ("x-aip-account", bob)];
    let write = async |collection: &str| {
        let mut input = record(world, collection);
        input["repo"] = bob.into();
        let (path, body) = (format!("/xrpc/{CREATE}"), input.to_string().into());
        app.call(&Method::POST, &path, &token, &headers, body).await
    };
    let refused = write("app.bsky.feed.post").await;
    refused.expect(403, "Forbidden");

    let browser = world.browser();
    let login = browser.open(&account_page()).await;
    let page = browser.sign_in(&login, world.bob()).await;
    let form = Form::by_id(page.answer.text(), "delegate-1").unwrap();
    let form = form.set("delegate", world.alice().handle.as_str());
    let at_pds = browser
        .submit(form.set("preset", "everything"), "delegate")
        .await;
    let callback = browser.at_pds(&at_pds, world.bob()).await;
    browser.open(callback.as_str()).await;
    let written = write("app.bsky.feed.post").await.ok();
    let repository = format!("at://{bob}/");
    assert!(written["uri"].as_str().unwrap().starts_with(&repository));
    // Her token does not allow it, whatever he does.
    let refused = write("app.bsky.feed.like").await;
    refused.expect(403, "insufficient_scope");
    let acts = world.audit(AuditKind::DelegatedCall).await;
    assert_eq!(acts.len(), 1);
    assert_eq!(acts[0].actor.as_ref(), Some(&world.alice().did));
}

async fn no_client_is_that_of_developer_tokens(world: &World) {
    let (token, _, _) = made(world, "30").await;
    let before = world.state().await;
    let authorize = world.browser();
    let page = authorize
        .open(&format!(
            "{BASE}/oauth/authorize?client_id={CLIENT}&response_type=code&scope=atproto\
             &redirect_uri=https://app.example/cb&code_challenge=x&code_challenge_method=S256"
        ))
        .await;
    page.answer.expect_page(400, "");
    for (path, form) in [
        ("/oauth/par", "response_type=code&scope=atproto".to_owned()),
        ("/oauth/device_authorization", "scope=atproto".to_owned()),
        (
            "/oauth/token",
            format!("grant_type=refresh_token&refresh_token={token}"),
        ),
        ("/oauth/token", "grant_type=client_credentials".to_owned()),
        (
            "/oauth/token",
            "grant_type=authorization_code&code=x&code_verifier=y".to_owned(),
        ),
        ("/oauth/revoke", format!("token={token}")),
        ("/oauth/introspect", format!("token={token}")),
    ] {
        let request = Request::post(format!("{BASE}{path}"))
            .header("content-type", "application/x-www-form-urlencoded");
        let body = format!("client_id={CLIENT}&{form}");
        let answer = world.send(request.body(body.into()).unwrap()).await;
        answer.expect(401, "invalid_client");
    }
    assert_eq!(world.state().await, before);
    world.app().await.query(&token, GET_SESSION).await.ok();
}

async fn nobody_makes_a_token_by_a_form_that_is_not_right(world: &World) {
    let (browser, page) = alices_browser(world).await;
    let before = world.state().await;
    let asked = world.pds().requests_to(Endpoint::Par).len();
    let long = "x".repeat(61);
    for (name, value, words) in [
        ("name", "", "Please give the token a name"),
        ("name", "two\nlines", "Please give the token a name"),
        ("name", &*long, "Please give the token a name"),
        ("preset", "all", "Please choose"),
        ("preset", "", "Please choose"),
        ("days", "0", "from 1 to 365"),
        ("days", "366", "from 1 to 365"),
        ("days", "soon", "from 1 to 365"),
        ("days", "", "from 1 to 365"),
    ] {
        let form = form(&page).set(name, value);
        let again = browser.submit(form, "make-token").await;
        again.answer.expect_page(400, words);
        assert!(again.has_form("make-token-1"), "{again:?}");
    }
    let forged = form(&page).set("csrf", "made-up");
    let forged = browser.submit(forged, "make-token").await;
    forged.answer.expect_page(403, "another site");
    let of_another = form(&page).set("did", world.bob().did.as_str());
    let of_another = browser.submit(of_another, "make-token").await;
    of_another
        .answer
        .expect_page(400, "You are not signed in as");
    assert_eq!(world.pds().requests_to(Endpoint::Par).len(), asked);
    assert_eq!(world.state().await, before);

    // At the PDS she says no, or somebody else signs in.
    let at_pds = browser.submit(form(&page), "make-token").await;
    let denied = browser.decide_at_pds(&at_pds, world.alice(), Decision::Deny);
    let after = browser.open(denied.await.as_str()).await;
    assert!(after.answer.status.is_client_error());
    let at_pds = browser.submit(form(&page), "make-token").await;
    world.pds().lie(Lie::sub_of(&world.bob().did));
    let other = browser.at_pds(&at_pds, world.alice()).await;
    let after = browser.open(other.as_str()).await;
    after
        .answer
        .expect_page(400, "signed in as another account");
    world.pds().tell_truth();
    assert_eq!(world.dump().await.count("developer_tokens"), 0);
    for person in [world.alice(), world.bob()] {
        assert_eq!(world.pds().live_sessions(&person.did), 0, "given back");
    }

    // Nobody revokes the token of another account.
    let (token, _, _) = made(world, "30").await;
    let theirs = world.browser();
    let login = theirs.open(&account_page()).await;
    let bobs_page = theirs.sign_in(&login, world.bob()).await;
    let ids = world.texts("SELECT grant_id FROM developer_tokens").await;
    for did in [world.bob().did.as_str(), world.alice().did.as_str()] {
        let form = bobs_page.form("sign-out").set("action", "revoke-token");
        let form = form.set("did", did).set("token", &ids[0]);
        theirs.submit(form, "sign-out-button").await;
    }
    world.app().await.query(&token, GET_SESSION).await.ok();
}

async fn an_account_has_at_most_20_tokens(world: &World) {
    let (_, browser, _) = made(world, "30").await;
    let page = browser.open(&account_page()).await;
    let tab = browser.tab();
    let waiting = tab.submit(form(&page), "make-token").await;
    for n in 1..MAX_DEVELOPER_TOKENS {
        let id = format!("0192f3a4-7b1c-7def-8abc-0000000000{n:02}");
        let copy = format!(
            "INSERT INTO grants (id, client_id, did, actor, scope, asked, upstream_session, auth_time,
                 created_at)
             SELECT '{id}', client_id, did, actor, scope, asked, upstream_session, auth_time, created_at
             FROM grants WHERE id = (SELECT MAX(grant_id) FROM developer_tokens) RETURNING id"
        );
        world.texts(&copy).await;
        let copy = format!(
            "INSERT INTO developer_tokens (grant_id, did, name, expires_at)
             SELECT '{id}', did, name, expires_at FROM developer_tokens
             WHERE grant_id = (SELECT MAX(grant_id) FROM developer_tokens) RETURNING grant_id"
        );
        world.texts(&copy).await;
    }
    let before = world.state().await;
    let again = browser.submit(form(&page), "make-token").await;
    again.answer.expect_page(400, "at most 20 tokens");
    assert_eq!(world.state().await, before);
    // Nor is she sent to her PDS by the link of an operator.
    let (_, link) = ordered(world).await;
    let order = tab.open(&link).await;
    let before = world.state().await;
    let again = tab.submit(order.form("token-order"), "make").await;
    again.answer.expect_page(400, "at most 20 tokens");
    assert_eq!(world.state().await, before);
    // Whoever is at the PDS already comes back too late.
    let callback = tab.at_pds(&waiting, world.alice()).await;
    let late = tab.open(callback.as_str()).await;
    late.answer.expect_page(400, "at most 20 tokens");
    let live = world.pds().live_sessions(&world.alice().did);
    assert_eq!(live, 1, "what she got there is given back");
    let tokens = world.dump().await.count("developer_tokens");
    assert_eq!(tokens, MAX_DEVELOPER_TOKENS as usize);
    revoke_one(&browser).await;
    let at_pds = browser.submit(form(&page), "make-token").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let token = token_on(&browser.open(callback.as_str()).await).unwrap();
    world.secrets.learn("a developer token", &token);
}

async fn revoke_one(browser: &Browser<'_>) {
    let page = browser.open(&account_page()).await;
    let csrf = page.form("sign-out").field("csrf").unwrap().to_owned();
    let mut forms = Form::all_with(page.answer.text(), "csrf", &csrf);
    forms.retain(|form| form.has_button("revoke-token"));
    assert_eq!(forms.len(), MAX_DEVELOPER_TOKENS as usize);
    browser.submit(forms.remove(0), "revoke-token").await;
}

/// An operator orders a token for alice. Returns it with the link.
async fn ordered(world: &World) -> (OrderedToken, String) {
    let server = world.aip().app.server.clone();
    let scope = "atproto openid profile repo:app.bsky.feed.post";
    let life = Duration::from_hours(90 * 24);
    let order = server.order_developer_token(
        &world.alice().did,
        "Newsletter".parse().unwrap(),
        scope.parse().unwrap(),
        life,
    );
    let order = order.await.unwrap();
    for (what, secret) in [("a link", &order.link), ("a token", &order.token)] {
        world.secrets.learn(what, secret.expose_secret());
    }
    let link = format!("{BASE}/account/token?order={}", order.link.expose_secret());
    (order, link)
}

async fn a_token_that_is_ordered_is_made_once_by_the_account_that_it_is_for(world: &World) {
    let (order, link) = ordered(world).await;
    let token = order.token.expose_secret();
    let app = world.app().await;
    app.userinfo(token).await.expect(401, "invalid_token");

    // Nobody has signed in at this browser, and the page says what it is about.
    let (first, second) = (world.browser(), world.browser());
    let page = first.open(&link).await;
    for words in ["Newsletter", "90 days", world.alice().did.as_str()] {
        assert!(page.answer.text().contains(words), "{page:?}");
    }
    assert_eq!(token_on(&page), None);
    // By a form of another site, or without the page, nothing begins.
    let before = world.state().await;
    let forged = page.form("token-order").set("csrf", "made-up");
    let forged = first.submit(forged, "make").await;
    forged.answer.expect_page(403, "another site");
    let elsewhere = world.browser();
    let without = elsewhere.submit(page.form("token-order"), "make").await;
    without.answer.expect_page(403, "cookie");
    let unknown = first.open(&format!("{BASE}/account/token?order=x")).await;
    unknown.answer.expect_page(400, "This link no longer works");
    assert_eq!(world.state().await, before);

    // Somebody else makes nothing of it.
    let at_pds = first.submit(page.form("token-order"), "make").await;
    world.pds().lie(Lie::sub_of(&world.bob().did));
    let callback = first.at_pds(&at_pds, world.alice()).await;
    let refused = first.open(callback.as_str()).await;
    refused
        .answer
        .expect_page(400, "signed in as another account");
    world.pds().tell_truth();
    // Two at once: one makes it.
    let mut callbacks = Vec::new();
    for browser in [&first, &second] {
        let page = browser.open(&link).await;
        let at_pds = browser.submit(page.form("token-order"), "make").await;
        callbacks.push(browser.at_pds(&at_pds, world.alice()).await);
    }
    let made = first.open(callbacks[0].as_str()).await;
    assert!(made.answer.status.is_success(), "{made:?}");
    assert!(made.answer.text().contains("Whoever gave you the link"));
    assert_eq!(token_on(&made), None, "it never comes here");
    let late = second.open(callbacks[1].as_str()).await;
    late.answer.expect_page(400, "This link no longer works");
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    let again = first.open(&link).await;
    again.answer.expect_page(400, "This link no longer works");
    let post = record(world, "app.bsky.feed.post");
    app.procedure(token, CREATE, &post).await.ok();
    let made = world.audit(AuditKind::DeveloperTokenMade).await;
    assert!(made[0].detail.contains("ordered by the operator"));
    // She sees it, and can take it back.
    let (browser, page) = alices_browser(world).await;
    assert!(page.answer.text().contains("Newsletter"), "{page:?}");
    revoke(&browser).await;
    app.userinfo(token).await.expect(401, "invalid_token");

    // One that she refuses, and one that is too old.
    let (order, link) = ordered(world).await;
    let page = first.open(&link).await;
    let refused = first.submit(page.form("token-order"), "refuse").await;
    assert!(refused.answer.text().contains("No token was made"));
    let (late_order, late_link) = ordered(world).await;
    let page = first.open(&late_link).await;
    let at_pds = first.submit(page.form("token-order"), "make").await;
    let callback = first.at_pds(&at_pds, world.alice()).await;
    let now = world.clock.now();
    assert_eq!(late_order.expires_at, now + DEVELOPER_TOKEN_ORDER_LIFE);
    let end = now.as_micros();
    let end = format!("UPDATE developer_token_orders SET expires_at = {end} RETURNING id");
    world.texts(&end).await;
    for link in [&link, &late_link] {
        let gone = first.open(link).await;
        gone.answer.expect_page(400, "This link no longer works");
    }
    let gone = first.open(callback.as_str()).await;
    gone.answer.expect_page(400, "This link no longer works");
    for order in [order, late_order] {
        let refused = app.userinfo(order.token.expose_secret()).await;
        refused.expect(401, "invalid_token");
    }
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
}
