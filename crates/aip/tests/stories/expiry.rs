//! The end of an access token, and the answer to a refresh: a token is not used close to its end,
//! which the reference PDS answers by ending the session, and a refresh that was sent is waited for.

use std::time::Duration;

use aip_sandbox::{Document, Endpoint, Lie, Reply, When};
use aip_storage::audit::AuditKind;
use aip_storage::upstream::{ReauthReason, UpstreamState};
use http::StatusCode;
use serde_json::{Value, json};

use crate::keeping::{GET_SESSION, STALE, app_with_session, refreshes, session};
use crate::on_both_engines;
use crate::world::{World, until};

on_both_engines!(
    a_token_close_to_its_end_is_not_used_while_a_refresh_backs_off,
    a_token_close_to_its_end_is_not_used_while_its_pds_is_paused,
    a_token_is_used_while_refreshes_fail_and_its_end_is_far,
    tokens_that_live_for_nothing_are_refreshed_before_each_use,
    a_session_that_the_pds_ends_at_its_second_look_is_logged_as_that,
    a_refresh_that_takes_long_is_waited_for_under_its_lease,
    a_dead_refresh_token_is_believed_whatever_the_pds_calls_it,
    a_pds_that_says_no_and_is_not_well_keeps_the_session,
);

/// An access token of the sandbox lives for an hour; so long before its end.
fn before_the_end(world: &World, left: Duration) {
    world.pass(Duration::from_hours(1).checked_sub(left).unwrap());
}

/// Nobody was asked anything with the old token, and the session is there as it was.
async fn is_kept_untouched(world: &World) {
    let method = Endpoint::Method(GET_SESSION);
    assert_eq!(world.pds().requests_to(method).len(), 0);
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    assert_eq!(session(world).await.generation, 0);
    assert!(world.audit(AuditKind::UpstreamEnded).await.is_empty());
}

async fn a_token_close_to_its_end_is_not_used_while_a_refresh_backs_off(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world
        .pds()
        .set_lifetimes(|it| it.row_read_takes = Duration::from_millis(300));
    world.pds().always(Endpoint::Token).is_unavailable();
    // Each attempt fails and backs off; what is left of the token is not touched meanwhile.
    before_the_end(world, Duration::from_secs(15));
    for _ in 0..14 {
        let answer = app.query(&tokens.access, GET_SESSION).await;
        answer.expect(503, "UpstreamFailure").logged("kept");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        world.pass(Duration::from_secs(1));
    }
    is_kept_untouched(world).await;

    world.pds().heal(Endpoint::Token);
    world.pass(Duration::from_mins(5));
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_token_close_to_its_end_is_not_used_while_its_pds_is_paused(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world
        .pds()
        .set_lifetimes(|it| it.row_read_takes = Duration::from_millis(300));
    world.pds().always(Endpoint::Token).rate_limits(600);
    before_the_end(world, Duration::from_secs(14));
    // The pause is the server's, so another session that meets it has not failed itself.
    for _ in 0..3 {
        app.query(&tokens.access, GET_SESSION)
            .await
            .expect(503, "UpstreamFailure")
            .logged("kept");
        world.pass(Duration::from_secs(4));
    }
    is_kept_untouched(world).await;

    world.pds().heal(Endpoint::Token);
    world.pass(Duration::from_mins(15));
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_token_is_used_while_refreshes_fail_and_its_end_is_far(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pds().always(Endpoint::Token).is_unavailable();
    before_the_end(world, Duration::from_secs(40));
    for _ in 0..3 {
        app.query(&tokens.access, GET_SESSION).await.ok();
        world.pass(Duration::from_secs(8));
    }
    world.pass(Duration::from_secs(2));
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(503, "UpstreamFailure");
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
}

async fn tokens_that_live_for_nothing_are_refreshed_before_each_use(world: &World) {
    let lie = Lie::set(Document::TokenResponse, "expires_in", 0);
    world.pds().lie(lie);
    let (app, tokens) = app_with_session(world).await;
    let before = session(world).await.generation;
    for uses in 1..=3 {
        app.query(&tokens.access, GET_SESSION).await.ok();
        assert_eq!(refreshes(world), usize::try_from(uses).unwrap());
        assert_eq!(session(world).await.generation, before + uses);
    }
    world.pds().tell_truth();
    app.query(&tokens.access, GET_SESSION).await.ok();
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(refreshes(world), 4);
}

async fn a_session_that_the_pds_ends_at_its_second_look_is_logged_as_that(world: &World) {
    // The PDS says that tokens live for an hour, and ends them after a minute.
    let lie = Lie::set(Document::TokenResponse, "expires_in", 3600);
    world.pds().lie(lie);
    world
        .pds()
        .set_lifetimes(|it| it.access_token = Duration::from_mins(1));
    let (app, tokens) = app_with_session(world).await;
    world
        .pds()
        .set_lifetimes(|it| it.row_read_takes = Duration::from_millis(1500));
    world.pass(Duration::from_secs(59));
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer
        .expect(401, "invalid_token")
        .logged("the reference PDS ends the session then");
    let ended = world.pds().ended_sessions();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].why, "Token expired");
    let reason = ReauthReason::Refused;
    assert_eq!(
        session(world).await.state,
        UpstreamState::NeedsReauth(reason)
    );
}

async fn lease_until(world: &World) -> i64 {
    let lease = "SELECT CAST(lease_until AS TEXT) FROM upstream_sessions";
    world.texts(lease).await[0].parse().unwrap()
}

async fn a_refresh_that_takes_long_is_waited_for_under_its_lease(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let id = session(world).await.id;
    world.pass(STALE);
    world.pds().next(Endpoint::Token).demands_nonce();
    let gate = world.pds().next(Endpoint::Token).holds(When::Before);
    let keeper = world.aip().app.keeper.clone();
    let used = world
        .aip()
        .run(async move { keeper.active_session(id).await });
    gate.reached_by(1).await;
    // Longer than any other request to a PDS may take.
    for _ in 0..2 {
        let until_then = lease_until(world).await;
        world.pass(Duration::from_secs(20));
        until("the lease is extended", async || {
            lease_until(world).await > until_then
        })
        .await;
    }
    gate.open();
    assert_eq!(used.await.unwrap().unwrap().generation, 1);
    let token = world.pds().requests_to(Endpoint::Token);
    assert_eq!(
        (token.len(), refreshes(world)),
        (2, 1),
        "a nonce and one refresh"
    );
    assert_eq!(session(world).await.state, UpstreamState::Active);
    app.query(&tokens.access, GET_SESSION).await.ok();
}

/// What servers say that do not know `invalid_grant`.
fn refusals() -> [(StatusCode, Value); 3] {
    let expired = "Refresh token expired";
    [
        (
            StatusCode::BAD_REQUEST,
            json!({ "error": "InvalidRequest", "message": expired }),
        ),
        (
            StatusCode::BAD_REQUEST,
            json!({ "error": "invalid_request", "error_description": expired }),
        ),
        (
            StatusCode::UNAUTHORIZED,
            json!({ "error": "invalid_token", "error_description": expired }),
        ),
    ]
}

async fn a_dead_refresh_token_is_believed_whatever_the_pds_calls_it(world: &World) {
    for (status, body) in refusals() {
        let (app, tokens) = app_with_session(world).await;
        let refusal = Reply::json(status, &body);
        world.pds().always(Endpoint::Token).answers(refusal);
        world.pass(STALE);
        for _ in 0..2 {
            let answer = app.query(&tokens.access, GET_SESSION).await;
            answer.expect(503, "UpstreamFailure").logged("kept");
            world.pass(Duration::from_hours(1));
        }
        // The third time in two hours.
        let answer = app.query(&tokens.access, GET_SESSION).await;
        answer.expect(401, "invalid_token").logged("refused");
        assert!(world.log().contains("Refresh token expired"));
        app.refresh(&tokens.refresh)
            .await
            .expect(400, "invalid_grant");
        let needs = "SELECT last_error FROM upstream_sessions WHERE state = 'needs_reauth'";
        let told = world.texts(needs).await;
        assert!(told.iter().all(|it| it.contains("Refresh token expired")));
        world.pds().heal(Endpoint::Token);
    }
    assert_eq!(world.audit(AuditKind::UpstreamEnded).await.len(), 3);
}

async fn a_pds_that_says_no_and_is_not_well_keeps_the_session(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let [(status, body), ..] = refusals();
    world.pass(STALE);
    for _ in 0..3 {
        let refusal = Reply::json(status, &body);
        world.pds().next(Endpoint::Token).times(2).answers(refusal);
        for _ in 0..2 {
            app.query(&tokens.access, GET_SESSION)
                .await
                .expect(503, "UpstreamFailure");
            world.pass(Duration::from_hours(2));
        }
        // An outage says that the refusals before it need not mean anything.
        world.pds().next(Endpoint::Token).is_unavailable();
        app.query(&tokens.access, GET_SESSION)
            .await
            .expect(503, "UpstreamFailure");
        world.pass(Duration::from_hours(2));
    }
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(session(world).await.failures, 0);
}
