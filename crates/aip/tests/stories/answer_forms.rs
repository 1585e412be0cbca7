//! Answers of a PDS in odd and in illegal forms, after something single-use was spent: nothing that
//! was received is thrown away.

use std::io::Write as _;
use std::time::Duration;

use aip_base::Clock as _;
use aip_sandbox::{Endpoint, Reply};
use aip_sessions::KeeperError;
use aip_storage::upstream::{ReauthReason, UpstreamState};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use http::StatusCode;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, WWW_AUTHENTICATE};
use serde_json::{Map, Value, json};

use crate::app_passwords::{app_with_password, found, use_it};
use crate::keeping::{GET_SESSION, STALE, app_with_session, refreshes, session};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_refresh_is_kept_whatever_form_its_answer_has,
    a_refresh_without_an_access_token_keeps_the_session_and_is_tried_again_later,
    only_another_account_in_a_refresh_ends_the_session,
    a_sign_in_at_a_server_that_compresses_works_and_an_unusable_answer_is_reported_as_it_is,
    the_session_of_an_app_password_is_kept_whatever_form_its_answer_has,
    a_rejection_is_understood_in_every_form_that_pds_give_it,
    a_refusal_that_is_not_about_the_token_is_never_told_to_the_app_as_one,
    calls_side_by_side_succeed_at_a_pds_that_takes_only_its_newest_nonce,
);

/// What is made of an honest answer.
type Change = fn(Reply) -> Reply;

fn members(reply: &Reply) -> Map<String, Value> {
    serde_json::from_slice(&reply.body).unwrap()
}

/// Makes something else of every success of `endpoint`, until it is healed. Demands for a nonce
/// stay as they are.
fn bend(
    world: &World,
    endpoint: Endpoint,
    change: impl Fn(Reply) -> Reply + Send + Sync + 'static,
) {
    let order = world.pds().always(endpoint);
    order.rewrites(move |reply| {
        if reply.status.is_success() {
            change(reply)
        } else {
            reply
        }
    });
}

/// The answer with other members.
fn edited(mut reply: Reply, edit: impl FnOnce(&mut Map<String, Value>)) -> Reply {
    let mut content = members(&reply);
    edit(&mut content);
    reply.body = Value::Object(content).to_string().into();
    reply
}

fn gzipped(mut reply: Reply) -> Reply {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&reply.body).unwrap();
    reply.body = encoder.finish().unwrap().into();
    reply.with(CONTENT_ENCODING, "gzip")
}

fn wrapped(mut reply: Reply, before: &str, after: &str) -> Reply {
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    reply.body = format!("{before}{text}{after}").into();
    reply
}

const FORMS: [(&str, Change); 12] = [
    ("gzip", gzipped),
    ("a byte order mark", |it| wrapped(it, "\u{feff}", "")),
    ("a comment behind it", |it| wrapped(it, "", "<!-- 3 ms -->")),
    ("201", |it| Reply {
        status: StatusCode::CREATED,
        ..it
    }),
    ("500", |it| Reply {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        ..it
    }),
    ("a page", |mut it| {
        it.headers
            .insert(CONTENT_TYPE, "text/html".parse().unwrap());
        it
    }),
    ("no expires_in", |it| {
        edited(it, |it| drop(it.remove("expires_in")))
    }),
    ("digits", |it| {
        edited(it, |it| drop(it.insert("expires_in".into(), json!("3600"))))
    }),
    ("no scope", |it| edited(it, |it| drop(it.remove("scope")))),
    ("no sub", |it| edited(it, |it| drop(it.remove("sub")))),
    ("no token_type", |it| {
        edited(it, |it| drop(it.remove("token_type")))
    }),
    ("another token_type", |it| {
        edited(it, |it| {
            drop(it.insert("token_type".into(), json!("Bearer")));
        })
    }),
];

async fn a_refresh_is_kept_whatever_form_its_answer_has(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let scope = session(world).await.scope;
    for (number, (form, change)) in FORMS.into_iter().enumerate() {
        world.pass(STALE);
        bend(world, Endpoint::Token, change);
        app.query(&tokens.access, GET_SESSION).await.ok();
        world.pds().heal(Endpoint::Token);
        let kept = session(world).await;
        assert_eq!(
            kept.generation,
            i64::try_from(number).unwrap() + 1,
            "{form}"
        );
        assert_eq!((kept.failures, &kept.scope), (0, &scope), "{form}");
        assert!(kept.tokens.access_expires_at > world.clock.now(), "{form}");
    }
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    assert!(world.pds().requests_to(Endpoint::Revoke).is_empty());
    let sent = world.pds().requests_to(Endpoint::Token);
    assert!(
        sent.iter()
            .all(|it| it.headers[ACCEPT_ENCODING] == "identity")
    );
}

async fn a_refresh_without_an_access_token_keeps_the_session_and_is_tried_again_later(
    world: &World,
) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    let cut = |it| edited(it, |it| drop(it.remove("access_token")));
    bend(world, Endpoint::Token, cut);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    world.pds().heal(Endpoint::Token);
    answer
        .expect(503, "UpstreamFailure")
        .logged("the server's token answer lacks `access_token`");
    let kept = session(world).await;
    assert_eq!(
        (kept.state, kept.generation, kept.failures),
        (UpstreamState::Active, 1, 1)
    );
    let error = kept.last_error.unwrap();
    assert_eq!(error, "the server's token answer lacks `access_token`");

    // Nothing is sent before the pause is over, and then the token that came.
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(503, "UpstreamFailure");
    assert_eq!(refreshes(world), 1);
    world.pass(Duration::from_mins(5));
    app.query(&tokens.access, GET_SESSION).await.ok();
    let kept = session(world).await;
    assert_eq!((kept.generation, kept.failures), (2, 0));
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    assert!(world.pds().requests_to(Endpoint::Revoke).is_empty());
}

async fn only_another_account_in_a_refresh_ends_the_session(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    let bob = world.bob().did.to_string();
    let lie = move |it| edited(it, |it| drop(it.insert("sub".into(), json!(bob))));
    bend(world, Endpoint::Token, lie);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    world.pds().heal(Endpoint::Token);
    answer.expect(401, "invalid_token").logged("other_account");
    let reason = UpstreamState::NeedsReauth(ReauthReason::OtherAccount);
    assert_eq!(session(world).await.state, reason);
    assert_eq!(world.pds().requests_to(Endpoint::Revoke).len(), 1);
}

async fn a_sign_in_at_a_server_that_compresses_works_and_an_unusable_answer_is_reported_as_it_is(
    world: &World,
) {
    let app = world.app().await;
    for endpoint in [Endpoint::Par, Endpoint::Token] {
        bend(world, endpoint, gzipped);
    }
    app.sign_in(&world.browser(), world.alice()).await;
    world.pds().heal(Endpoint::Par);
    world.pds().heal(Endpoint::Token);
    let sessions = world.pds().live_sessions(&world.alice().did);

    let without: [(Change, &str); 3] = [
        (|it| edited(it, |it| drop(it.remove("sub"))), "lacks `sub`"),
        (
            |it| edited(it, |it| drop(it.remove("access_token"))),
            "lacks `access_token`",
        ),
        (
            |_| Reply::html(StatusCode::OK, "<html>"),
            "is not readable as JSON",
        ),
    ];
    for (change, told) in without {
        bend(world, Endpoint::Token, change);
        let pending = app.begin_authorization(&[]);
        let browser = world.browser();
        let login = browser.open(&pending.url).await;
        let page = browser.sign_in(&login, world.alice()).await;
        let words = pending.refused(&page.away(), "server_error");
        assert!(words.contains(told), "{words}");
        assert!(!words.contains("prove"), "{words}");
        page.answer.logged(told);
        world.pds().heal(Endpoint::Token);
    }
    // All but the one in the page was revoked.
    assert_eq!(world.pds().live_sessions(&world.alice().did), sessions + 1);
}

async fn the_session_of_an_app_password_is_kept_whatever_form_its_answer_has(world: &World) {
    let refresh = Endpoint::Method("com.atproto.server.refreshSession");
    let (app, _) = app_with_password(world).await;
    let forms: [(&str, Change); 5] = [
        ("gzip", gzipped),
        ("201", |it| Reply {
            status: StatusCode::CREATED,
            ..it
        }),
        ("a byte order mark", |it| wrapped(it, "\u{feff}", "\n")),
        ("no did", |it| edited(it, |it| drop(it.remove("did")))),
        ("no handle", |it| edited(it, |it| drop(it.remove("handle")))),
    ];
    for (number, (form, change)) in forms.into_iter().enumerate() {
        world.pass(Duration::from_hours(3));
        world.pds().next(refresh).rewrites(change);
        let generation = i64::try_from(number).unwrap() + 1;
        assert_eq!(use_it(world, &app.id).await.unwrap(), generation, "{form}");
    }
    world.pass(Duration::from_hours(3));
    let cut = |it| edited(it, |it| drop(it.remove("accessJwt")));
    world.pds().next(refresh).rewrites(cut);
    let later = use_it(world, &app.id).await;
    assert!(matches!(later, Err(KeeperError::Later(_))), "{later:?}");
    let kept = found(world, &app.id).await.unwrap();
    assert_eq!((kept.generation, kept.failures), (6, 1));
    world.pass(Duration::from_mins(5));
    assert_eq!(use_it(world, &app.id).await.unwrap(), 7);
    // One to begin with: the password was not needed again.
    let create = Endpoint::Method("com.atproto.server.createSession");
    assert_eq!(world.pds().requests_to(create).len(), 1);
}

async fn a_rejection_is_understood_in_every_form_that_pds_give_it(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let method = Endpoint::Method(GET_SESSION);
    let xrpc = |error: &str| json!({ "error": error, "message": "on order of the story" });
    let unauthorized = |body: &Value| Reply::json(StatusCode::UNAUTHORIZED, body);
    let with =
        |challenge: &str| unauthorized(&xrpc("AuthRequired")).with(WWW_AUTHENTICATE, challenge);
    let rejections = [
        with("DPoP error=invalid_token"),
        with("Negotiate YWJj==, DPoP algs=\"ES256\" , error = \"invalid_token\""),
        unauthorized(&xrpc("invalid_token")),
        unauthorized(&xrpc("InvalidToken")),
        Reply::json(StatusCode::BAD_REQUEST, &xrpc("ExpiredToken")),
        gzipped(Reply::json(StatusCode::BAD_REQUEST, &xrpc("ExpiredToken"))),
    ];
    for (number, rejection) in rejections.into_iter().enumerate() {
        world.pds().next(method).answers(rejection.clone());
        app.query(&tokens.access, GET_SESSION).await.ok();
        assert_eq!(refreshes(world), number + 1, "{rejection:?}");
    }
    let nonce = |body: &Value| unauthorized(body).with("dpop-nonce".parse().unwrap(), "stale");
    for demand in [
        nonce(&xrpc("AuthRequired")).with(WWW_AUTHENTICATE, "DPoP error=use_dpop_nonce"),
        nonce(&xrpc("use_dpop_nonce")),
    ] {
        let before = world.pds().requests_to(method).len();
        world.pds().next(method).answers(demand);
        app.query(&tokens.access, GET_SESSION).await.ok();
        // The nonce in it is none, so the PDS asks once more.
        assert_eq!(world.pds().requests_to(method).len(), before + 3);
        assert_eq!(refreshes(world), 6);
    }
}

async fn a_refusal_that_is_not_about_the_token_is_never_told_to_the_app_as_one(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let call = "com.atproto.repo.getRecord?repo=alice.test&collection=app.bsky.feed.post&rkey=one";
    let method = Endpoint::Method("com.atproto.repo.getRecord");
    for (status, error) in [
        (StatusCode::UNAUTHORIZED, "AccountTakedown"),
        (StatusCode::UNAUTHORIZED, "AuthFactorTokenRequired"),
        (StatusCode::FORBIDDEN, "AccountTakedown"),
        // A fresh token that is good for the PDS itself: the answer was about something else.
        (StatusCode::UNAUTHORIZED, "InvalidToken"),
    ] {
        let body = json!({ "error": error, "message": "Account has been taken down" });
        world
            .pds()
            .always(method)
            .answers(Reply::json(status, &body));
        let answer = app.query(&tokens.access, call).await;
        answer.expect(403, error);
        assert_eq!(answer.json()["message"], "Account has been taken down");
        assert!(!answer.headers.contains_key("www-authenticate"));
        world.pds().heal(method);
    }
    let body = json!({ "error": "ExpiredToken", "message": "about another one" });
    world
        .pds()
        .always(method)
        .answers(Reply::json(StatusCode::BAD_REQUEST, &body));
    let answer = app.query(&tokens.access, call).await;
    answer.expect(400, "ExpiredToken");
    assert_eq!(session(world).await.state, UpstreamState::Active);
}

async fn calls_side_by_side_succeed_at_a_pds_that_takes_only_its_newest_nonce(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pds().set_nonce_per_answer(true);
    for _ in 0..3 {
        let calls = (0..16).map(|_| app.query(&tokens.access, GET_SESSION));
        for answer in join_all(calls).await {
            assert_eq!(answer.ok()["did"], world.alice().did.as_str());
        }
    }
    let asked = world.pds().requests_to(Endpoint::Method(GET_SESSION)).len();
    assert!(asked <= 48 + 16 * 3, "{asked} requests for 48 calls");
    // Sign-ins side by side meet the same at the authorization server.
    let browsers: Vec<_> = (0..4).map(|_| world.browser()).collect();
    join_all(
        browsers
            .iter()
            .map(|browser| app.sign_in(browser, world.alice())),
    )
    .await;
    world.pass(STALE);
    app.query(&tokens.access, GET_SESSION).await.ok();
}
