//! Calls at `/xrpc` with an app password (D.2 row 70): which are made with it, what they may, and what
//! happens when it is taken back.

use std::sync::Arc;
use std::time::Duration;

use aip_sandbox::{Endpoint, Person, Received, Reply};
use aip_sessions::{AppPasswords, Keeper};
use aip_storage::audit::AuditKind;
use aip_storage::session_read::MAX_READ_AGE;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, Tokens};
use crate::app_passwords::{make_password, make_password_of, revoke_at_pds};
use crate::delegation::delegate;
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::World;

on_both_engines!(
    calls_are_made_with_the_app_password_that_an_app_was_given,
    an_app_password_opens_no_more_than_the_token,
    chat_is_for_app_passwords_that_open_it,
    an_app_password_counts_and_ends_within_a_second_at_every_replica,
    an_app_password_that_the_pds_takes_back_gives_way_to_the_oauth_session,
    a_delegate_calls_with_nobodys_app_password,
);

const CREATE: &str = "com.atproto.repo.createRecord";
const UPLOAD: &str = "com.atproto.repo.uploadBlob";
const TIMELINE: &str = "app.bsky.feed.getTimeline";
const REFRESH: Endpoint = Endpoint::Method("com.atproto.server.refreshSession");

/// Longer than an access token of an app password lives.
const STALE: Duration = Duration::from_hours(3);
/// More than is kept for a second try.
const LARGE: usize = 100_000;

/// An app that asks for `scope`, and alice's tokens for it.
async fn app_of_alice<'w>(world: &'w World, scope: &str) -> (App<'w>, Tokens) {
    let app = App::register(world, |settings| {
        settings.access_token_ttl = Duration::from_hours(24);
        settings.scope = format!("openid profile {scope}").parse().unwrap();
    });
    let app = app.await;
    // The PDS reads AIP's document anew, which may name more scopes now.
    world.pds().forget_clients();
    let browser = world.browser();
    let tokens = app.sign_in_for(&browser, world.alice(), scope).await;
    (app, tokens)
}

/// Gives the app that app password of somebody, which counts from now on.
async fn give(world: &World, app: &App<'_>, person: &Person, password: &str) {
    world.secrets.learn("an app password", password);
    let set = passwords(&world.aip().app.keeper);
    set.set(&app.id, &person.did, password).await.unwrap();
    world.pass(MAX_READ_AGE);
}

fn passwords(keeper: &Arc<Keeper>) -> AppPasswords {
    AppPasswords::new(keeper.clone())
}

async fn post(app: &App<'_>, access: &str) -> Answer {
    let record = record_in(app.world.alice(), "app.bsky.feed.post");
    app.procedure(access, CREATE, &record).await
}

fn record_in(person: &Person, collection: &str) -> Value {
    json!({
        "repo": person.did.as_str(),
        "collection": collection,
        "record": { "$type": collection, "text": "hi", "createdAt": "2026-01-01T00:00:00Z" },
    })
}

async fn upload(app: &App<'_>, access: &str) -> Answer {
    let path = format!("/xrpc/{UPLOAD}");
    let video = [("content-type", "video/mp4")];
    let body = Bytes::from(vec![7; LARGE]);
    app.call(&Method::POST, &path, access, &video, body).await
}

/// A query that names a service.
async fn query_at(app: &App<'_>, access: &str, method: &str, service: &str) -> Answer {
    let path = format!("/xrpc/{method}");
    let headers = [("atproto-proxy", service)];
    let empty = Bytes::new();
    app.call(&Method::GET, &path, access, &headers, empty).await
}

/// With which scheme the last call came to the PDS: a proof comes with `DPoP`, and with that alone.
fn last_scheme(world: &World) -> String {
    let requests = world.pds().requests();
    let mut calls = requests.iter().rev();
    let last = calls.find(|it| it.path.starts_with("/xrpc/")).unwrap();
    let authorization = last.header("authorization").unwrap();
    let (scheme, _) = authorization.split_once(' ').unwrap();
    assert_eq!(last.header("dpop").is_some(), scheme == "DPoP");
    scheme.to_owned()
}

/// What the session endpoint says of the session of that kind.
async fn told(app: &App<'_>, access: &str, kind: &str) -> Value {
    let path = format!("/api/atprotocol/session?access_token_type={kind}");
    let empty = Bytes::new();
    let answer = app.call(&Method::GET, &path, access, &[], empty).await;
    answer.ok()
}

async fn calls_are_made_with_the_app_password_that_an_app_was_given(world: &World) {
    let scope = "atproto repo:app.bsky.feed.post blob:*/*";
    let (app, tokens) = app_of_alice(world, scope).await;
    post(&app, &tokens.access).await.ok();
    assert_eq!(last_scheme(world), "DPoP");
    assert_eq!(
        told(&app, &tokens.access, "best").await,
        told(&app, &tokens.access, "oauth_session").await
    );

    let password = make_password(world).await;
    give(world, &app, world.alice(), &password).await;
    for cost in [1, 0] {
        let answer = post(&app, &tokens.access).await;
        answer.ok();
        assert_eq!(last_scheme(world), "Bearer");
        assert_eq!(statements(world, &answer), cost);
    }
    let blob = upload(&app, &tokens.access).await.ok();
    assert_eq!(blob["blob"]["size"], LARGE);
    assert_eq!(last_scheme(world), "Bearer");
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(last_scheme(world), "Bearer");
    assert_eq!(
        told(&app, &tokens.access, "best").await,
        told(&app, &tokens.access, "app_password_session").await
    );

    let refreshed = || world.pds().requests_to(REFRESH).len();
    world.pass(STALE);
    post(&app, &tokens.access).await.ok();
    assert_eq!((refreshed(), last_scheme(world)), (1, "Bearer".to_owned()));
    // A token that the PDS does not take is refreshed once, and the call sent once more.
    let writes = || world.pds().requests_to(Endpoint::Method(CREATE)).len();
    let before = writes();
    let expired = world.pds().next(Endpoint::Method(CREATE));
    expired.answers_error(StatusCode::BAD_REQUEST, "ExpiredToken");
    post(&app, &tokens.access).await.ok();
    assert_eq!((refreshed(), last_scheme(world)), (2, "Bearer".to_owned()));
    assert_eq!(writes(), before + 2);
}

async fn an_app_password_opens_no_more_than_the_token(world: &World) {
    const ONE: &str = "did:web:one.example#a";
    const OTHER: &str = "did:web:other.example#b";
    let password = make_password(world).await;
    let timeline = |audience: &str| {
        let audience = audience.replace('#', "%23");
        format!("atproto repo:app.bsky.feed.post rpc:{TIMELINE}?aud={audience}")
    };
    let (app, tokens) = app_of_alice(world, &timeline(ONE)).await;
    give(world, &app, world.alice(), &password).await;
    let access = &tokens.access;

    let before = world.state().await;
    let sent = world.pds().requests().len();
    let like = record_in(world.alice(), "app.bsky.feed.like").to_string();
    let service_token = "com.atproto.server.getServiceAuth?aud=did:web:";
    let preferences = "app.bsky.actor.putPreferences";
    let none = ("accept-language", "pt");
    let json = ("content-type", "application/json");
    for (method, call, header, body) in [
        (
            Method::GET,
            TIMELINE.to_owned(),
            ("atproto-proxy", OTHER),
            "",
        ),
        (
            Method::GET,
            "app.bsky.feed.getFeed".to_owned(),
            ("atproto-proxy", ONE),
            "",
        ),
        (Method::GET, "app.bsky.feed.getFeed".to_owned(), none, ""),
        (
            Method::GET,
            format!("{service_token}other.example%23b&lxm={TIMELINE}"),
            none,
            "",
        ),
        (
            Method::GET,
            format!("{service_token}one.example%23a&lxm=app.bsky.feed.getFeed"),
            none,
            "",
        ),
        (
            Method::GET,
            format!("{service_token}one.example%23a"),
            none,
            "",
        ),
        (Method::POST, CREATE.to_owned(), json, &*like),
        (Method::POST, UPLOAD.to_owned(), json, "{}"),
        (Method::POST, preferences.to_owned(), json, "{}"),
        (
            Method::POST,
            "com.atproto.identity.updateHandle".to_owned(),
            json,
            "{}",
        ),
    ] {
        let path = format!("/xrpc/{call}");
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = app.call(&method, &path, access, &[header], body).await;
        answer.expect(403, "insufficient_scope").logged("lacks");
    }
    assert_eq!(world.pds().requests().len(), sent);
    assert_eq!(world.state().await, before);

    let passed_on = query_at(&app, access, TIMELINE, ONE).await.ok();
    assert_eq!(passed_on["aud"], ONE);
    assert_eq!(last_scheme(world), "Bearer");
    let token = format!("{service_token}one.example%23a&lxm={TIMELINE}");
    app.query(access, &token).await.ok();
    assert_eq!(last_scheme(world), "Bearer");
    // Which service the PDS would choose, it limits for a session of OAuth alone.
    let (everywhere, all_tokens) = app_of_alice(world, &timeline("*")).await;
    give(world, &everywhere, world.alice(), &password).await;
    for (app, tokens, scheme) in [
        (&app, &tokens, "DPoP"),
        (&everywhere, &all_tokens, "Bearer"),
    ] {
        let reply = Reply::json(StatusCode::OK, &json!({ "feed": [] }));
        world.pds().next(Endpoint::Xrpc).answers(reply);
        app.query(&tokens.access, TIMELINE).await.ok();
        assert_eq!(last_scheme(world), scheme);
    }
    // What the PDS takes from the session of OAuth, no app password gives back.
    let narrowed = "UPDATE upstream_sessions SET scope = 'atproto repo:app.bsky.feed.post'
                    WHERE kind = 'oauth' RETURNING id";
    assert_eq!(world.texts(narrowed).await.len(), 2);
    world.pass(MAX_READ_AGE);
    query_at(&app, access, TIMELINE, ONE).await.ok();
    assert_eq!(last_scheme(world), "DPoP");
}

async fn chat_is_for_app_passwords_that_open_it(world: &World) {
    const CHAT: &str = "chat.bsky.convo.listConvos";
    const SERVICE: &str = "did:web:api.bsky.chat#bsky_chat";
    let scope = "atproto transition:generic transition:chat.bsky";
    let (app, tokens) = app_of_alice(world, scope).await;
    for (what, of_chat) in [
        (json!({ "name": "ordinary" }), "DPoP"),
        (json!({ "name": "chat", "privileged": true }), "Bearer"),
    ] {
        let password = make_password_of(world, world.alice(), &what).await;
        give(world, &app, world.alice(), &password).await;
        for (method, scheme) in [(CHAT, of_chat), (TIMELINE, "Bearer")] {
            let answer = query_at(&app, &tokens.access, method, SERVICE).await;
            assert_eq!(answer.ok()["lxm"], method);
            assert_eq!(last_scheme(world), scheme, "{what} {method}");
        }
    }
}

async fn an_app_password_counts_and_ends_within_a_second_at_every_replica(world: &World) {
    let (app, tokens) = app_of_alice(world, "atproto repo:app.bsky.feed.post").await;
    let password = make_password(world).await;
    let replicas = [world.replica().await, world.aip()];
    let all_call_with = async |scheme: &str| {
        for replica in &replicas {
            world.lead_to(replica);
            post(&app, &tokens.access).await.ok();
            assert_eq!(last_scheme(world), scheme);
        }
    };
    all_call_with("DPoP").await;
    for _ in 0..2 {
        give(world, &app, world.alice(), &password).await;
        all_call_with("Bearer").await;
    }
    let remove = passwords(&replicas[1].app.keeper);
    let alice = &world.alice().did;
    assert!(remove.remove(&app.id, alice).await.unwrap());
    // The replica that was asked to end it knows at once; its last call was the last one.
    post(&app, &tokens.access).await.ok();
    assert_eq!(last_scheme(world), "DPoP");
    world.pass(MAX_READ_AGE);
    all_call_with("DPoP").await;
}

async fn an_app_password_that_the_pds_takes_back_gives_way_to_the_oauth_session(world: &World) {
    let scope = "atproto repo:app.bsky.feed.post blob:*/*";
    let (app, tokens) = app_of_alice(world, scope).await;
    let answered = |method, status: u16| {
        let requests = world.pds().requests_to(Endpoint::Method(method));
        let answered = requests.iter().filter_map(Received::answered);
        answered.filter(|it| *it == status).count()
    };
    for (ended, how) in (1..).zip(["stale", "during a write", "before a file"]) {
        let what = json!({ "name": how });
        let password = make_password_of(world, world.alice(), &what).await;
        give(world, &app, world.alice(), &password).await;
        revoke_at_pds(world, how).await;
        // What the PDS gave lives on there until it expires.
        post(&app, &tokens.access).await.ok();
        assert_eq!(last_scheme(world), "Bearer");
        world.pds().forget_requests();
        let rejects = |method| {
            let next = world.pds().next(Endpoint::Method(method));
            next.answers_error(StatusCode::BAD_REQUEST, "ExpiredToken");
        };
        let (answer, method) = match how {
            "stale" => {
                world.pass(STALE);
                (post(&app, &tokens.access).await, CREATE)
            }
            "during a write" => {
                rejects(CREATE);
                (post(&app, &tokens.access).await, CREATE)
            }
            _ => {
                rejects(GET_SESSION);
                (upload(&app, &tokens.access).await, UPLOAD)
            }
        };
        answer.ok();
        answer.logged("app password session unusable");
        assert_eq!(last_scheme(world), "DPoP", "{how}");
        assert_eq!(answered(method, 200), 1, "it is done once");
        let audit = world.audit(AuditKind::UpstreamEnded).await;
        assert_eq!(audit.len(), ended, "{how}");
        // From then on nobody tries the password again.
        world.pass(MAX_READ_AGE);
        world.pds().forget_requests();
        post(&app, &tokens.access).await.ok();
        assert_eq!(
            (last_scheme(world), answered(CREATE, 200)),
            ("DPoP".to_owned(), 1)
        );
        assert_eq!(world.pds().requests_to(REFRESH).len(), 0);
    }
}

async fn a_delegate_calls_with_nobodys_app_password(world: &World) {
    let app = world.app().await;
    let (alice, bob) = (world.alice(), world.bob());
    let tokens = app.sign_in(&world.browser(), bob).await;
    app.sign_in(&world.browser(), alice).await;
    for person in [alice, bob] {
        let what = json!({ "name": "app" });
        let password = make_password_of(world, person, &what).await;
        give(world, &app, person, &password).await;
    }
    delegate(world, "posts").await;
    for (account, scheme) in [(bob, "Bearer"), (alice, "DPoP"), (bob, "Bearer")] {
        let path = format!("/xrpc/{CREATE}");
        let headers = [
            ("content-type", "application/json"),
            ("x-aip-account", account.did.as_str()),
        ];
        let record = record_in(account, "app.bsky.feed.post").to_string();
        let call = app.call(
            &Method::POST,
            &path,
            &tokens.access,
            &headers,
            record.into(),
        );
        let written = call.await.ok();
        let uri = written["uri"].as_str().unwrap();
        assert!(uri.contains(account.did.as_str()), "{uri}");
        assert_eq!(last_scheme(world), scheme, "for {}", account.did);
    }
}
