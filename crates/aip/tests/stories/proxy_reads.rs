//! What the XRPC proxy remembers of a token and its session for a second, and what ends it in time.

use std::time::Duration;

use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::grant::RevokeReason;
use aip_storage::session_read::MAX_READ_AGE;
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http::header::AUTHORIZATION;

use crate::answer::Answer;
use crate::app::{App, Tokens};
use crate::keeping::{GET_SESSION, app_with_session, refreshes, session};
use crate::on_both_engines;
use crate::request_line::request_line;
use crate::world::{BASE, World};

on_both_engines!(
    a_token_that_calls_often_costs_one_statement_a_second,
    calls_at_the_same_time_share_one_statement,
    whatever_ends_a_token_ends_its_calls_within_a_second_at_every_replica,
    tokens_that_another_replica_replaced_are_used_by_the_next_call,
    a_bound_token_needs_its_proof_at_every_call,
    a_token_that_expires_is_refused_at_that_instant,
);

/// What a call cost the database.
fn statements(world: &World, answer: &Answer) -> u64 {
    let line = request_line(world, answer.header("x-request-id"));
    line["statements"].as_u64().unwrap()
}

async fn a_token_that_calls_often_costs_one_statement_a_second(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let almost = MAX_READ_AGE.checked_sub(Duration::from_millis(1)).unwrap();
    // The first call may have learnt a nonce, which replicas share.
    app.query(&tokens.access, GET_SESSION).await.ok();
    for (wait, expected) in [(almost, 0), (Duration::from_millis(1), 1), (almost, 0)] {
        world.pass(wait);
        let answer = app.query(&tokens.access, GET_SESSION).await;
        assert_eq!(answer.ok()["did"], world.alice().did.as_str());
        assert_eq!(statements(world, &answer), expected, "after {wait:?}");
    }
}

async fn calls_at_the_same_time_share_one_statement(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(MAX_READ_AGE);
    let calls = (0..30).map(|_| app.query(&tokens.access, GET_SESSION));
    let answers = join_all(calls).await;
    let mut cost = 0;
    for answer in &answers {
        answer.ok();
        cost += statements(world, answer);
    }
    assert_eq!(cost, 1);
}

/// What ends the calls of a token.
#[derive(Debug, Clone, Copy)]
enum End {
    AccessTokenRevoked,
    RefreshTokenRevoked,
    TakenBackByPerson,
    ClientDeleted,
    SessionEndedByOperator,
}

impl End {
    async fn happen(self, world: &World, app: &App<'_>, tokens: &Tokens) {
        let running = world.aip();
        let server = &running.app.server;
        let now = server.clock.now();
        match self {
            Self::AccessTokenRevoked => drop(app.revoke(&tokens.access).await),
            Self::RefreshTokenRevoked => drop(app.revoke(&tokens.refresh).await),
            Self::TakenBackByPerson => {
                let (client, alice) = (&app.id, &world.alice().did);
                let (reason, kind) = (RevokeReason::ByPerson, AuditKind::GrantRevoked);
                let event = AuditEvent::new(&*server.clock, &*server.rng, kind, "");
                let revoke = server
                    .storage
                    .revoke_client_grants(client, alice, reason, now, event);
                assert_eq!(revoke.await.unwrap(), 1);
            }
            Self::ClientDeleted => {
                assert!(server.storage.delete_client(&app.id, now).await.unwrap());
            }
            Self::SessionEndedByOperator => {
                let hash = "SELECT id FROM upstream_sessions WHERE state = 'active'";
                let id = world.texts(hash).await.remove(0).parse().unwrap();
                assert!(running.app.keeper.revoke(id).await.unwrap());
            }
        }
    }
}

async fn whatever_ends_a_token_ends_its_calls_within_a_second_at_every_replica(world: &World) {
    let one = world.replica().await;
    let other = world.aip();
    for end in [
        End::AccessTokenRevoked,
        End::RefreshTokenRevoked,
        End::TakenBackByPerson,
        End::ClientDeleted,
        End::SessionEndedByOperator,
    ] {
        let app = world.app().await;
        let tokens = app.sign_in(&world.browser(), world.alice()).await;
        for replica in [&one, &other] {
            world.lead_to(replica);
            app.query(&tokens.access, GET_SESSION).await.ok();
        }
        end.happen(world, &app, &tokens).await;
        if matches!(end, End::AccessTokenRevoked | End::RefreshTokenRevoked) {
            // The replica that was asked to end it knows at once.
            let answer = app.query(&tokens.access, GET_SESSION).await;
            answer.expect(401, "invalid_token");
        }
        world.pass(MAX_READ_AGE);
        let asked = world.pds().requests().len();
        for replica in [&one, &other] {
            world.lead_to(replica);
            let answer = app.query(&tokens.access, GET_SESSION).await;
            assert_eq!(answer.status, 401, "{end:?}: {}", answer.text());
            answer.expect(401, "invalid_token");
        }
        assert_eq!(world.pds().requests().len(), asked, "{end:?}");
        // What is left of it would be the session that the next one ends.
        world.keeper_round().await;
        let left = "UPDATE upstream_sessions SET state = 'ended', reason = 'by_operator'
                    WHERE state = 'active' RETURNING id";
        world.texts(left).await;
    }
}

async fn tokens_that_another_replica_replaced_are_used_by_the_next_call(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let one = world.replica().await;
    let other = world.aip();
    for replica in [&one, &other] {
        world.lead_to(replica);
        app.query(&tokens.access, GET_SESSION).await.ok();
    }
    let id = session(world).await.id;
    one.app.keeper.refresh_now(id).await.unwrap();
    assert_eq!(session(world).await.generation, 1);
    // No time passes: both know the session as it was before.
    for replica in [&one, &other] {
        world.lead_to(replica);
        let answer = app.query(&tokens.access, GET_SESSION).await;
        assert_eq!(answer.ok()["did"], world.alice().did.as_str());
    }
    assert_eq!(refreshes(world), 1, "nobody refreshed again");
    assert_eq!(session(world).await.generation, 1);
}

async fn a_bound_token_needs_its_proof_at_every_call(world: &World) {
    let app = world.app().await.with_dpop();
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    app.query(&tokens.access, GET_SESSION).await.ok();
    let asked = world.pds().requests().len();
    // The token is remembered, and so is nothing that was proved.
    let answer = app.without_key().query(&tokens.access, GET_SESSION).await;
    answer.expect(401, "invalid_token");
    let stranger = app.with_another_key();
    let answer = stranger.query(&tokens.access, GET_SESSION).await;
    answer.expect(401, "invalid_token");
    let bare = Request::get(format!("{BASE}/xrpc/{GET_SESSION}"))
        .header(AUTHORIZATION, format!("DPoP {}", tokens.access))
        .body(Bytes::new());
    let answer = world.send(bare.unwrap()).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(world.pds().requests().len(), asked);
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_token_that_expires_is_refused_at_that_instant(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let life = Duration::from_secs(tokens.answer["expires_in"].as_u64().unwrap());
    let moment = Duration::from_millis(100);
    world.pass(life.checked_sub(moment).unwrap());
    app.query(&tokens.access, GET_SESSION).await.ok();
    world.pass(moment);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(401, "invalid_token");
}
