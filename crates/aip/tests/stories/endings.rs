//! The ends of sessions: the app learns of them with a reason, and the person signs in again
//! without anything stale in the way. What can be mended by an operator is no end.

use std::time::Duration;

use aip_sandbox::{AccountState, Endpoint, Reply};
use aip_storage::audit::AuditKind;
use aip_storage::upstream::{EndReason, ReauthReason, UpstreamState};
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::json;

use crate::app::Tokens;
use crate::keeping::{GET_SESSION, STALE, app_with_session, refreshes, session};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_pds_that_rejects_even_fresh_tokens_needs_the_person,
    a_rejection_that_is_about_something_else_ends_nothing,
    a_pds_that_asks_for_a_pause_is_left_alone_by_the_keeper,
    a_client_that_is_deleted_during_an_exchange_leaves_nothing_alive,
    an_account_that_is_deleted_ends_cleanly,
    a_pds_that_is_down_is_left_alone_until_a_probe_gets_through,
    an_ended_session_is_told_everywhere_and_the_same_browser_signs_in_again,
    an_operator_refreshes_and_ends_sessions,
);

fn rejection() -> Reply {
    let body = json!({ "error": "invalid_token", "message": "on order of the story" });
    let challenge = "DPoP algs=\"ES256\", error=\"invalid_token\"";
    Reply::json(StatusCode::UNAUTHORIZED, &body).with(WWW_AUTHENTICATE, challenge)
}

async fn a_pds_that_rejects_even_fresh_tokens_needs_the_person(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let method = Endpoint::Method(GET_SESSION);
    world.pds().always(method).answers(rejection());
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(401, "invalid_token").logged("rejected");
    assert_eq!(refreshes(world), 1);
    let rejected = UpstreamState::NeedsReauth(ReauthReason::Rejected);
    assert_eq!(session(world).await.state, rejected);
    let ended = world.audit(AuditKind::UpstreamEnded).await;
    assert_eq!((ended.len(), ended[0].detail.as_str()), (1, "rejected"));

    // Nothing is asked of the PDS any more, and the app is told at its next refresh.
    let asked = world.pds().requests().len();
    let again = app.query(&tokens.access, GET_SESSION).await;
    again.expect(401, "invalid_token");
    let refused = app.refresh(&tokens.refresh).await;
    refused.expect(400, "invalid_grant");
    assert_eq!(world.pds().requests().len(), asked);
    world.pds().heal(method);
}

async fn a_rejection_that_is_about_something_else_ends_nothing(world: &World) {
    const CREATE: &str = "com.atproto.repo.createRecord";
    let (app, tokens) = app_with_session(world).await;
    let method = Endpoint::Method(CREATE);
    world.pds().always(method).answers(rejection());
    let post = json!({
        "repo": world.alice().did.as_str(),
        "collection": "app.bsky.feed.post",
        "record": { "text": "hello", "createdAt": "2026-01-01T00:00:00Z" },
    });
    let answer = app.procedure(&tokens.access, CREATE, &post).await;
    // The token of the app is fine: no 401, which would make it refresh again and again.
    answer.expect(403, "invalid_token").logged("rejected");
    assert_eq!(
        (world.pds().requests_to(method).len(), refreshes(world)),
        (2, 1)
    );
    world.pds().heal(method);
    assert_eq!(session(world).await.state, UpstreamState::Active);
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_pds_that_asks_for_a_pause_is_left_alone_by_the_keeper(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    world.pds().next(Endpoint::Token).rate_limits(120);
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(503, "UpstreamFailure");
    world.pass(Duration::from_secs(100));
    world
        .texts("UPDATE upstream_sessions SET next_refresh_at = 0, failures = 0 RETURNING id")
        .await;
    let asked = world.pds().requests().len();
    world.keeper_round().await;
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(503, "UpstreamFailure");
    assert_eq!(world.pds().requests().len(), asked, "it asked for a pause");
    world.pass(Duration::from_secs(20));
    world.keeper_round().await;
    assert_eq!(refreshes(world), 1);
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_client_that_is_deleted_during_an_exchange_leaves_nothing_alive(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let consent = browser.open(callback.as_str()).await;
    let code = pending.code(&browser.allow(&consent).await);
    let delete = async || {
        let server = &world.aip().app.server;
        let now = server.clock.now();
        server.storage.delete_client(&app.id, now).await.unwrap()
    };
    let (answer, deleted) = tokio::join!(app.redeem(&pending, &code), delete());
    assert!(deleted);
    if answer.status.is_success() {
        let access = answer.json()["access_token"].as_str().unwrap().to_owned();
        app.userinfo(&access).await.expect(401, "invalid_token");
    } else {
        assert!(answer.status.is_client_error(), "{}", answer.status);
    }
    let ended = UpstreamState::Ended(EndReason::ClientDeleted);
    assert_eq!(session(world).await.state, ended);
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
    assert_eq!(world.dump().await.count("grants"), 0);
}

async fn an_account_that_is_deleted_ends_cleanly(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let alice = &world.alice().did;
    world.pds().set_account_state(alice, AccountState::Deleted);
    world.pass(STALE);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    assert!(
        matches!(answer.status.as_u16(), 401 | 503),
        "{}",
        answer.status
    );
    world.pass(Duration::from_mins(5));
    app.query(&tokens.access, GET_SESSION).await;
    let state = session(world).await.state;
    assert!(
        matches!(state, UpstreamState::NeedsReauth(_) | UpstreamState::Active),
        "{state:?}"
    );
}

async fn a_pds_that_is_down_is_left_alone_until_a_probe_gets_through(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pds().go_down().await;
    for _ in 0..8 {
        let answer = app.query(&tokens.access, GET_SESSION).await;
        assert!(answer.status.is_server_error(), "{}", answer.status);
    }
    // The breaker is open by now: a clear answer that says when to come back.
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(503, "UpstreamFailure");
    assert!(!answer.header("retry-after").is_empty());
    world.pds().come_up().await.unwrap();
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(503, "UpstreamFailure");
    world.pass(Duration::from_mins(1));
    app.query(&tokens.access, GET_SESSION).await.ok();
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn an_ended_session_is_told_everywhere_and_the_same_browser_signs_in_again(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    world.pds().end_sessions(&world.alice().did);
    world.pass(STALE);
    let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(401, "invalid_token").logged("refused");

    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], false);
    let refused = app.refresh(&tokens.refresh).await;
    refused.expect(400, "invalid_grant");
    let words = refused.json()["error_description"].to_string();
    assert!(words.contains("sign in"), "{words}");
    let ended = world.audit(AuditKind::UpstreamEnded).await;
    assert_eq!((ended.len(), ended[0].detail.as_str()), (1, "refused"));

    // The browser's cookies know alice; what they lead to is over, and nothing comes of that.
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let back = browser.open(callback.as_str()).await;
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back.away())).await);
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn an_operator_refreshes_and_ends_sessions(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let id = session(world).await.id;
    let keeper = world.aip().app.keeper.clone();
    let refreshed = keeper.refresh_now(id).await.unwrap();
    assert_eq!((refreshed.generation, refreshes(world)), (1, 1));
    assert_eq!(world.audit(AuditKind::UpstreamRefreshed).await.len(), 1);
    app.query(&tokens.access, GET_SESSION).await.ok();

    assert!(keeper.revoke(id).await.unwrap());
    assert!(!keeper.revoke(id).await.unwrap());
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(401, "invalid_token");
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
    let ended = world.audit(AuditKind::UpstreamEnded).await;
    assert_eq!((ended.len(), ended[0].detail.as_str()), (1, "by_operator"));
    assert!(keeper.refresh_now(id).await.is_err());
}
