//! Delegations: alice lets bob act for her account. What bob may do, by a header and by an exchanged token
//! (RFC 8693), what she sees of it, and how it ends.

use std::time::Duration;

use aip_base::Clock as _;
use aip_jose::UnverifiedJws;
use aip_oauth::registration::ClientSettings;
use aip_sandbox::{Decision, Endpoint, Lie, Person};
use aip_storage::audit::AuditKind;
use aip_storage::client::{AccessTokenFormat, GrantType, GrantTypes};
use aip_storage::session_read::MAX_READ_AGE;
use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, SCOPE, Tokens};
use crate::browser::{Browser, Page};
use crate::html::Form;
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_delegate_acts_for_the_owner_with_what_both_allow,
    an_exchanged_token_acts_for_the_owner_and_says_who_acts,
    delegations_are_not_passed_on,
    what_is_taken_back_ends_within_a_second_at_every_replica,
    a_delegation_ends_with_its_time_its_session_and_the_token_that_it_came_from,
    a_token_is_exchanged_by_its_own_client_with_its_own_key_alone,
    many_exchanges_at_once_share_one_grant,
    an_exchanged_token_ends_when_its_resource_is_taken_from_the_app,
    an_owner_lets_nobody_act_by_a_form_that_is_not_right,
);

const CREATE: &str = "com.atproto.repo.createRecord";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn account_page() -> String {
    format!("{BASE}/account")
}

fn may_exchange(settings: &mut ClientSettings) {
    let grants = vec![
        GrantType::AuthorizationCode,
        GrantType::RefreshToken,
        GrantType::TokenExchange,
    ];
    settings.grant_types = GrantTypes::try_from(grants).unwrap();
}

/// An app that may exchange tokens.
async fn team_app(world: &World) -> App<'_> {
    App::register(world, may_exchange).await
}

/// Alice's browser, at the account page.
async fn alices_browser(world: &World) -> (Browser<'_>, Page) {
    let browser = world.browser();
    let login = browser.open(&account_page()).await;
    let page = browser.sign_in(&login, world.alice()).await;
    (browser, page)
}

/// The form by which the owner of that page lets bob post.
fn form(world: &World, page: &Page) -> Form {
    let form = Form::by_id(page.answer.text(), "delegate-1").unwrap();
    form.set("delegate", world.bob().handle.as_str())
        .set("preset", "posts")
}

/// Alice lets bob do that. Returns her browser and the account page that she sees then.
pub(crate) async fn delegate<'w>(world: &'w World, preset: &str) -> (Browser<'w>, Page) {
    let (browser, page) = alices_browser(world).await;
    let form = form(world, &page).set("preset", preset);
    let at_pds = browser.submit(form, "delegate").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let page = browser.open(callback.as_str()).await;
    let bob = format!("data-delegate=\"{}\"", world.bob().did);
    assert!(page.answer.text().contains(&bob), "{page:?}");
    (browser, page)
}

async fn take_back(browser: &Browser<'_>) {
    let page = browser.open(&account_page()).await;
    let mut forms = Form::all_with(page.answer.text(), "csrf", &csrf(&page));
    forms.retain(|form| form.has_button("take-back"));
    let page = browser.submit(forms.remove(0), "take-back").await;
    assert!(!page.answer.text().contains("data-delegate"), "{page:?}");
}

fn csrf(page: &Page) -> String {
    page.form("sign-out").field("csrf").unwrap().to_owned()
}

fn record(owner: &Person, collection: &str) -> Value {
    json!({
        "repo": owner.did.as_str(),
        "collection": collection,
        "record": {
            "$type": collection,
            "text": "by a team",
            "createdAt": "2026-01-01T00:00:00Z",
        },
    })
}

/// Bob writes a record into the repository of alice, naming her.
async fn write(app: &App<'_>, access: &str, collection: &str) -> Answer {
    let alice = app.world.alice();
    let headers = [
        ("content-type", "application/json"),
        ("x-aip-account", alice.did.as_str()),
    ];
    let path = format!("/xrpc/{CREATE}");
    let body = record(alice, collection).to_string().into();
    app.call(&Method::POST, &path, access, &headers, body).await
}

/// A query of bob, naming alice.
async fn query_for_alice(app: &App<'_>, access: &str, call: &str) -> Answer {
    let headers = [("x-aip-account", app.world.alice().did.as_str())];
    let path = format!("/xrpc/{call}");
    let empty = Bytes::new();
    app.call(&Method::GET, &path, access, &headers, empty).await
}

/// The parameters of an exchange for alice.
fn exchange_form<'a>(world: &'a World, access: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", EXCHANGE),
        ("subject_token", access),
        ("subject_token_type", ACCESS_TOKEN),
        ("requested_subject", world.alice().did.as_str()),
    ]
}

/// Swaps bob's token for one that acts for alice.
async fn exchange(app: &App<'_>, access: &str) -> Answer {
    app.token(&exchange_form(app.world, access)).await
}

fn access_token(answer: &Answer) -> String {
    answer.ok()["access_token"].as_str().unwrap().to_owned()
}

async fn a_delegate_acts_for_the_owner_with_what_both_allow(world: &World) {
    let app = world.app().await;
    let scope = format!("{SCOPE} repo:app.bsky.feed.like email");
    let bobs = app.sign_in_for(&world.browser(), world.bob(), &scope).await;
    let before = world.state().await;
    let refused = write(&app, &bobs.access, "app.bsky.feed.post").await;
    refused.expect(403, "Forbidden").logged("does not let");
    assert_eq!(world.state().await, before);

    let (browser, page) = delegate(world, "posts").await;
    assert!(page.answer.text().contains("Write and delete posts."));
    let asked = world.pds().requests_to(Endpoint::Par);
    let asked = String::from_utf8_lossy(&asked.last().unwrap().body).into_owned();
    assert!(asked.contains("prompt=login"), "they sign in anew: {asked}");
    assert_eq!(world.audit(AuditKind::DelegationGiven).await.len(), 1);

    // It is alice's session, and she is not told of by a header.
    let written = write(&app, &bobs.access, "app.bsky.feed.post").await.ok();
    let uri = written["uri"].as_str().unwrap();
    let repository = format!("at://{}/", world.alice().did);
    assert!(uri.starts_with(&repository), "{uri}");
    let sent = world.pds().requests_to(Endpoint::Method(CREATE));
    assert_eq!(sent.last().unwrap().header("x-aip-account"), None);
    let told = query_for_alice(&app, &bobs.access, GET_SESSION).await.ok();
    assert_eq!(told["did"], world.alice().did.as_str());
    assert_eq!(told.get("email"), None);
    // What one of the two does not allow, and what is a credential of hers.
    let sent = world.pds().requests().len();
    let like = write(&app, &bobs.access, "app.bsky.feed.like").await;
    like.expect(403, "insufficient_scope");
    let narrow = Tokens::of(&app.narrow(&bobs.refresh, "atproto openid").await);
    let post = write(&app, &narrow.access, "app.bsky.feed.post").await;
    post.expect(403, "insufficient_scope");
    let service = "com.atproto.server.getServiceAuth?aud=did:web:a.example";
    let refused = query_for_alice(&app, &narrow.access, service).await;
    refused.expect(403, "insufficient_scope");
    // What could be read in two ways is refused, and never taken for the delegate's own account.
    for named in [
        "",
        "alice.test",
        "did:web",
        "did:web:a.example did:web:b.example",
    ] {
        let headers = [("x-aip-account", named)];
        let path = format!("/xrpc/{GET_SESSION}");
        let empty = Bytes::new();
        let answer = app.call(&Method::GET, &path, &narrow.access, &headers, empty);
        answer.await.expect(400, "InvalidRequest");
    }
    assert_eq!(world.pds().requests().len(), sent, "none of it left");
    // Without the header, and with its own DID, it is bob's account.
    let own = app.query(&narrow.access, GET_SESSION).await.ok();
    assert_eq!(own["did"], world.bob().did.as_str());

    // What was sent, and nothing else, is written down and shown.
    let acts = world.audit(AuditKind::DelegatedCall).await;
    assert_eq!(acts.len(), 1);
    assert_eq!(acts[0].did.as_ref(), Some(&world.alice().did));
    assert_eq!(acts[0].actor.as_ref(), Some(&world.bob().did));
    assert_eq!(acts[0].client_id.as_ref(), Some(&app.id));
    let words = "com.atproto.repo.createRecord: create app.bsky.feed.post";
    assert_eq!(acts[0].detail, words);
    let page = browser.open(&account_page()).await;
    assert!(page.answer.text().contains(words), "{page:?}");
    // What cannot be written down is not done.
    let drop = "ALTER TABLE audit_events RENAME TO audit_events_away";
    world.texts(drop).await;
    let sent = world.pds().requests().len();
    let refused = write(&app, &bobs.access, "app.bsky.feed.post").await;
    assert!(refused.status.is_server_error(), "{}", refused.text());
    assert_eq!(world.pds().requests().len(), sent);
    world
        .texts("ALTER TABLE audit_events_away RENAME TO audit_events")
        .await;
    write(&app, &bobs.access, "app.bsky.feed.post").await.ok();
}

async fn an_exchanged_token_acts_for_the_owner_and_says_who_acts(world: &World) {
    let (browser, _) = delegate(world, "posts").await;
    let (alice, bob) = (world.alice().did.as_str(), world.bob().did.as_str());
    for format in [AccessTokenFormat::Opaque, AccessTokenFormat::Jwt] {
        let app = App::register(world, |settings| {
            may_exchange(settings);
            settings.access_token_format = format;
        });
        let app = app.await;
        let bobs = app.sign_in(&world.browser(), world.bob()).await;
        world.pass(Duration::from_mins(10));
        let answer = exchange(&app, &bobs.access).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let told = answer.ok();
        assert_eq!(told["issued_token_type"], ACCESS_TOKEN);
        assert_eq!(told["token_type"], "Bearer");
        assert_eq!(
            told["expires_in"],
            50 * 60,
            "no longer than the one it came from"
        );
        let scope = "atproto openid repo:app.bsky.feed.post?action=create&action=delete";
        let scope: aip_atproto::ScopeSet = scope.parse().unwrap();
        assert_eq!(told["scope"], scope.to_string());
        assert_eq!(
            (told.get("refresh_token"), told.get("id_token")),
            (None, None)
        );

        let access = access_token(&answer);
        let introspected = app.introspect(&access).await.ok();
        assert_eq!(introspected["sub"], alice);
        assert_eq!(introspected["act"], json!({ "sub": bob }));
        let userinfo = app.userinfo(&access).await.ok();
        assert_eq!(userinfo["sub"], alice);
        assert_eq!(userinfo["act"], json!({ "sub": bob }));
        let own = app.introspect(&bobs.access).await.ok();
        assert_eq!(own.get("act"), None);
        if format == AccessTokenFormat::Jwt {
            let jws = UnverifiedJws::parse(&access).unwrap();
            let claims: Value = jws.unverified_claims().unwrap();
            assert_eq!(claims["sub"], alice);
            assert_eq!(claims["act"], json!({ "sub": bob }));
            assert_eq!(claims.get("acr"), None);
        }
        let post = record(world.alice(), "app.bsky.feed.post");
        app.procedure(&access, CREATE, &post).await.ok();
        let like = record(world.alice(), "app.bsky.feed.like");
        let refused = app.procedure(&access, CREATE, &like).await;
        refused.expect(403, "insufficient_scope");

        // Less, if the app asks for less.
        let mut form = exchange_form(world, &bobs.access);
        form.push(("scope", "openid repo:app.bsky.feed.like"));
        assert_eq!(app.token(&form).await.ok()["scope"], "openid");
        *form.last_mut().unwrap() = ("scope", "repo:app.bsky.feed.like");
        app.token(&form).await.expect(400, "invalid_scope");
        // The owner sees no app of hers, and the delegate none more.
        let page = browser.open(&account_page()).await;
        let apps = Form::with_field(page.answer.text(), "client_id", app.id.as_str());
        assert!(apps.is_none(), "{page:?}");
        // It ends with the one that it came from.
        app.userinfo(&access).await.ok();
        app.revoke(&bobs.refresh).await;
        app.userinfo(&access).await.expect(401, "invalid_token");
    }
    assert_eq!(world.audit(AuditKind::DelegatedCall).await.len(), 2);
    // One for each sign-in of the delegate, however often its token is exchanged.
    assert_eq!(world.audit(AuditKind::DelegatedToken).await.len(), 2);
    let discovery = world.get("/.well-known/openid-configuration").await.ok();
    let grants = discovery["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&json!(EXCHANGE)));
}

async fn delegations_are_not_passed_on(world: &World) {
    delegate(world, "everything").await;
    let app = App::register(world, |settings| {
        may_exchange(settings);
        settings.scope = format!("{SCOPE} aip:credentials").parse().unwrap();
    });
    let app = app.await;
    let scope = format!("{SCOPE} aip:credentials");
    let bobs = app.sign_in_for(&world.browser(), world.bob(), &scope).await;
    let access = access_token(&exchange(&app, &bobs.access).await);
    let before = world.state().await;
    let mut form = exchange_form(world, &access);
    let refused = app.token(&form).await;
    refused
        .expect(400, "invalid_request")
        .logged("delegations are not passed on");
    // Nor for the account of the delegate.
    form.retain(|(name, _)| *name != "requested_subject");
    form.push(("requested_subject", world.bob().did.as_str()));
    app.token(&form).await.expect(400, "invalid_request");
    // Nor by the header.
    let headers = [("x-aip-account", world.bob().did.as_str())];
    let path = format!("/xrpc/{GET_SESSION}");
    let refused = app.call(&Method::GET, &path, &access, &headers, Bytes::new());
    refused.await.expect(403, "Forbidden").logged("already");
    let told = query_for_alice(&app, &access, GET_SESSION).await.ok();
    assert_eq!(told["did"], world.alice().did.as_str(), "its own account");
    // No credentials and no app password of the owner.
    let path = "/api/atprotocol/session";
    let told = app
        .call(&Method::GET, path, &access, &[], Bytes::new())
        .await
        .ok();
    assert_eq!(told["did"], world.alice().did.as_str());
    assert_eq!(
        (told.get("access_token"), told.get("dpop_key")),
        (None, None)
    );
    let service = "com.atproto.server.getServiceAuth?aud=did:web:a.example";
    app.query(&access, service)
        .await
        .expect(403, "insufficient_scope");
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let path = "/api/atprotocol/app-password";
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let body = Bytes::from("app-password=abcd-abcd-abcd-abcd");
        let body = if method == Method::POST {
            body
        } else {
            Bytes::new()
        };
        let refused = app.call(&method, path, &access, &form, body).await;
        refused.expect(403, "insufficient_scope");
    }
    assert_eq!(world.state().await, before);
    // With the app's own scope for credentials bob's are his.
    let own = app.call(
        &Method::GET,
        "/api/atprotocol/session",
        &bobs.access,
        &[],
        Bytes::new(),
    );
    let own = own.await.ok();
    world.secrets.learn_tokens(&own);
    for secret in [&own["dpop_key"], &own["dpop_jwk"]["d"]] {
        let secret = secret.as_str().unwrap();
        world.secrets.learn("a DPoP key", secret);
    }
    assert_eq!(own["did"], world.bob().did.as_str());
}

async fn what_is_taken_back_ends_within_a_second_at_every_replica(world: &World) {
    let one = world.replica().await;
    let other = world.aip();
    let (browser, _) = delegate(world, "posts").await;
    let app = team_app(world).await;
    let bobs = app.sign_in(&world.browser(), world.bob()).await;
    let access = access_token(&exchange(&app, &bobs.access).await);
    for replica in [&one, &other] {
        world.lead_to(replica);
        app.query(&access, GET_SESSION).await.ok();
        query_for_alice(&app, &bobs.access, GET_SESSION).await.ok();
    }
    take_back(&browser).await;
    // The replica that was asked knows at once, and the header is looked up at each call.
    app.query(&access, GET_SESSION)
        .await
        .expect(401, "invalid_token");
    world.pass(MAX_READ_AGE);
    let asked = world.pds().requests().len();
    for replica in [&one, &other] {
        world.lead_to(replica);
        app.query(&access, GET_SESSION)
            .await
            .expect(401, "invalid_token");
        let refused = query_for_alice(&app, &bobs.access, GET_SESSION).await;
        refused.expect(403, "Forbidden");
        exchange(&app, &bobs.access)
            .await
            .expect(400, "invalid_request");
        assert_eq!(app.introspect(&access).await.ok()["active"], false);
    }
    assert_eq!(world.pds().requests().len(), asked, "none of it left");
    let own = app.query(&bobs.access, GET_SESSION).await.ok();
    assert_eq!(own["did"], world.bob().did.as_str());
    assert_eq!(world.audit(AuditKind::DelegationEnded).await.len(), 1);
    // Her PDS is told, too.
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
}

async fn a_delegation_ends_with_its_time_its_session_and_the_token_that_it_came_from(
    world: &World,
) {
    delegate(world, "posts").await;
    let app = team_app(world).await;
    let bobs = app.sign_in(&world.browser(), world.bob()).await;
    // It is over before the token is.
    let minute = Duration::from_mins(1);
    let end = (world.clock.now() + 2 * minute).as_micros();
    let ends = format!("UPDATE delegations SET ends_at = {end} RETURNING id");
    world.texts(&ends).await;
    let answer = exchange(&app, &bobs.access).await;
    assert_eq!(answer.ok()["expires_in"], 120);
    let access = access_token(&answer);
    world.pass(minute);
    app.query(&access, GET_SESSION).await.ok();
    world.pass(minute);
    app.query(&access, GET_SESSION)
        .await
        .expect(401, "invalid_token");
    let refused = query_for_alice(&app, &bobs.access, GET_SESSION).await;
    refused.expect(403, "Forbidden");
    exchange(&app, &bobs.access)
        .await
        .expect(400, "invalid_request");
    let storage = world.aip().app.server.storage.clone();
    let ended = storage.end_expired_delegations(world.clock.now(), 10).await;
    assert_eq!(ended.unwrap(), 1);

    // Her host ends the session: nobody tells bob to sign in again, which would not help.
    let (browser, _) = delegate(world, "posts").await;
    let access = access_token(&exchange(&app, &bobs.access).await);
    world.pds().end_sessions(&world.alice().did);
    let refused = query_for_alice(&app, &bobs.access, GET_SESSION).await;
    refused.expect(403, "Forbidden").logged("sign in again");
    let refused = app.query(&access, GET_SESSION).await;
    assert!(
        [401, 403].contains(&refused.status.as_u16()),
        "{}",
        refused.text()
    );
    let page = browser.open(&account_page()).await;
    assert!(
        page.answer.text().contains("They cannot act at present"),
        "{page:?}"
    );
    exchange(&app, &bobs.access)
        .await
        .expect(400, "invalid_request");
    app.query(&bobs.access, GET_SESSION).await.ok();
}

async fn a_token_is_exchanged_by_its_own_client_with_its_own_key_alone(world: &World) {
    delegate(world, "posts").await;
    let (app, other) = (team_app(world).await, team_app(world).await);
    let bobs = app.sign_in(&world.browser(), world.bob()).await;
    let bound = team_app(world).await.with_dpop();
    let bounds = bound.sign_in(&world.browser(), world.bob()).await;
    let foreign = other.sign_in(&world.browser(), world.alice()).await;
    let not_registered = world.app().await;
    let known = not_registered.sign_in(&world.browser(), world.bob()).await;
    let before = world.state().await;
    let unusable = "no live access token";
    for (app, token, words) in [
        (&other, &bobs.access, unusable),
        (&app, &foreign.access, unusable),
        (&app, &bobs.refresh, unusable),
        (&app, &"x".to_owned(), unusable),
        (&bound, &bobs.access, unusable),
    ] {
        let refused = exchange(app, token).await;
        refused.expect(400, "invalid_request").logged(words);
    }
    let refused = exchange(&not_registered, &known.access).await;
    refused.expect(400, "unauthorized_client");
    // Each parameter, missing or wrong.
    let alice = world.alice().did.as_str();
    for (name, value, error) in [
        ("subject_token", "", "invalid_request"),
        ("subject_token_type", "", "invalid_request"),
        ("requested_subject", "", "invalid_request"),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:jwt",
            "invalid_request",
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
            "invalid_request",
        ),
        ("requested_subject", "alice.test", "invalid_request"),
        (
            "requested_subject",
            world.bob().did.as_str(),
            "invalid_request",
        ),
        (
            "requested_subject",
            "did:web:stranger.example",
            "invalid_request",
        ),
        ("actor_token", "x", "invalid_request"),
        ("actor_token_type", ACCESS_TOKEN, "invalid_request"),
        ("audience", alice, "invalid_target"),
        ("resource", "https://api.example.org", "invalid_target"),
        ("scope", "a\"b", "invalid_scope"),
    ] {
        let mut form = exchange_form(world, &bobs.access);
        form.retain(|(it, _)| *it != name);
        if !value.is_empty() {
            form.push((name, value));
        }
        let refused = app.token(&form).await;
        refused.expect(400, error);
    }
    // A bound token needs its key, and the new one is bound to it.
    let refused = exchange(&bound.without_key(), &bounds.access).await;
    refused.expect(400, "invalid_request");
    let refused = exchange(&bound.with_another_key(), &bounds.access).await;
    refused
        .expect(400, "invalid_request")
        .logged("bound to another key");
    let replays = |dump: crate::world::Dump| dump.without(&["replays"]);
    assert_eq!(replays(world.state().await), replays(before));
    let answer = exchange(&bound, &bounds.access).await;
    assert_eq!(answer.ok()["token_type"], "DPoP");
    let access = access_token(&answer);
    bound.query(&access, GET_SESSION).await.ok();
    let stolen = bound.without_key().query(&access, GET_SESSION).await;
    stolen.expect(401, "invalid_token");
}

async fn many_exchanges_at_once_share_one_grant(world: &World) {
    delegate(world, "posts").await;
    let app = team_app(world).await;
    let bobs = app.sign_in(&world.browser(), world.bob()).await;
    let answers = join_all((0..20).map(|_| exchange(&app, &bobs.access))).await;
    let mut tokens: Vec<_> = answers.iter().map(access_token).collect();
    for token in &tokens {
        app.query(token, GET_SESSION).await.ok();
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 20);
    assert_eq!(world.dump().await.count("grants"), 2, "bob's own, and one");

    // There are so many at a time and no more: of two more the last is there, and the oldest two are not.
    let mut late = Vec::new();
    for _ in 0..2 {
        world.pass(Duration::from_secs(1));
        late.push(access_token(&exchange(&app, &bobs.access).await));
    }
    let is_active = async |token: &str| app.introspect(token).await.ok()["active"] == true;
    let mut active = 0;
    for token in &tokens {
        active += usize::from(is_active(token).await);
    }
    assert_eq!(active, 18);
    assert!(is_active(&late[0]).await && is_active(&late[1]).await);
    assert_eq!(
        world.dump().await.count("access_tokens"),
        21,
        "and bob's own"
    );
}

async fn an_exchanged_token_ends_when_its_resource_is_taken_from_the_app(world: &World) {
    let (api, photos) = ("https://api.example.org/v1", "urn:example:photos");
    delegate(world, "posts").await;
    let app = App::register(world, |settings| {
        may_exchange(settings);
        settings.resources = format!("{api} {photos}").parse().unwrap();
    });
    let app = app.await;
    let pending =
        app.begin_authorization(&[("resource", BASE), ("resource", api), ("resource", photos)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.bob()).await;
    let code = pending.code(&browser.allow(&consent).await);
    let bobs = Tokens::of(&app.redeem(&pending, &code).await);
    let exchanged_for = async |resources: &[&str]| {
        let mut form = exchange_form(world, &bobs.access);
        form.extend(resources.iter().map(|it| ("resource", *it)));
        access_token(&app.token(&form).await)
    };
    let of_api = exchanged_for(&[api]).await;
    let of_both = exchanged_for(&[api, photos]).await;
    let of_all = exchanged_for(&[]).await;
    // The same of a token that was narrowed without an exchange.
    let narrow = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &bobs.refresh),
        ("resource", api),
    ];
    let bobs_own = Tokens::of(&app.token(&narrow).await).access;
    let audience = async |token: &str| app.introspect(token).await.ok()["aud"].clone();
    assert_eq!(audience(&of_api).await, api);
    assert_eq!(audience(&bobs_own).await, api);

    let server = world.aip().app.server.clone();
    let stored = server.storage.client(&app.id).await.unwrap().unwrap();
    let mut settings = stored.settings;
    settings.resources = photos.parse().unwrap();
    server.update_client(&app.id, settings).await.unwrap();

    for token in [&of_api, &bobs_own] {
        let told = app.introspect(token).await.ok();
        assert_eq!(told, json!({"active": false}), "it was for nothing else");
    }
    assert_eq!(audience(&of_both).await, photos);
    assert_eq!(audience(&of_all).await, json!([BASE, photos]));
    app.query(&of_all, GET_SESSION).await.ok();
}

async fn an_owner_lets_nobody_act_by_a_form_that_is_not_right(world: &World) {
    let (browser, page) = alices_browser(world).await;
    let before = world.state().await;
    let asked = world.pds().requests_to(Endpoint::Par).len();
    let bob = world.bob().did.as_str().to_owned();
    for (name, value, words) in [
        ("delegate", "", "Please enter the handle"),
        ("delegate", "not a handle", "We do not understand"),
        ("delegate", "nobody.test", "We did not find"),
        ("delegate", "did:web:nobody.example", "We did not find"),
        ("delegate", "alice.test", "This is the account itself"),
        (
            "delegate",
            world.alice().did.as_str(),
            "This is the account itself",
        ),
        ("preset", "all", "Please choose"),
        ("preset", "", "Please choose"),
        ("until", "soon", "is no day"),
        ("until", "2001-01-01", "must be one of the next 365"),
        ("until", "2999-01-01", "must be one of the next 365"),
    ] {
        let form = form(world, &page).set(name, value);
        let again = browser.submit(form, "delegate").await;
        again.answer.expect_page(400, words);
        assert!(again.has_form("delegate-1"), "{again:?}");
    }
    let forged = form(world, &page).set("csrf", "made-up");
    let forged = browser.submit(forged, "delegate").await;
    forged.answer.expect_page(403, "another site");
    let of_another = form(world, &page).set("did", &bob);
    let of_another = browser.submit(of_another, "delegate").await;
    of_another
        .answer
        .expect_page(400, "You are not signed in as");
    assert_eq!(world.pds().requests_to(Endpoint::Par).len(), asked);
    assert_eq!(world.state().await, before);

    // At the PDS she says no, or somebody else signs in.
    let at_pds = browser.submit(form(world, &page), "delegate").await;
    let denied = browser.decide_at_pds(&at_pds, world.alice(), Decision::Deny);
    let page_after = browser.open(denied.await.as_str()).await;
    assert!(page_after.answer.status.is_client_error());
    let at_pds = browser.submit(form(world, &page), "delegate").await;
    world.pds().lie(Lie::sub_of(&world.bob().did));
    let other = browser.at_pds(&at_pds, world.alice()).await;
    let page_after = browser.open(other.as_str()).await;
    page_after
        .answer
        .expect_page(400, "signed in as another account");
    world.pds().tell_truth();
    assert_eq!(world.dump().await.count("delegations"), 0);
    assert_eq!(world.pds().live_sessions(&world.bob().did), 0, "given back");
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
    // Nobody takes back what another account gave.
    let (alices, _) = delegate(world, "posts").await;
    let theirs = world.browser();
    let login = theirs.open(&account_page()).await;
    let bobs_page = theirs.sign_in(&login, world.bob()).await;
    let id = world.texts("SELECT id FROM delegations").await.remove(0);
    for did in [world.bob().did.as_str(), world.alice().did.as_str()] {
        let form = bobs_page.form("sign-out").set("action", "take-back");
        let form = form.set("did", did).set("delegation", &id);
        theirs.submit(form, "sign-out-button").await;
    }
    let page = alices.open(&account_page()).await;
    assert!(page.answer.text().contains("data-delegate"), "{page:?}");
}
