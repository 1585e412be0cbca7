//! Several processes, lost answers, rotated keys: every end is a consistent one.

use std::time::Duration;

use aip_base::{Clock as _, SystemRng};
use aip_jose::SigningKey;
use aip_keys::{Aad, KeySet};
use aip_sandbox::{Endpoint, Mint, When};
use aip_storage::audit::AuditKind;
use aip_storage::refresh::{Refreshed, Settle};
use aip_storage::upstream::{Credential, EndReason, ReauthReason, SealedTokens, UpstreamState};
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::app::Tokens;
use crate::keeping::{GET_SESSION, STALE, app_with_session, refreshes, session};
use crate::on_both_engines;
use crate::world::{KEYS, World};

on_both_engines!(
    a_lost_answer_is_tried_once_more_and_then_told_to_the_app,
    a_good_token_that_is_refused_once_keeps_its_session,
    a_refusal_gives_way_to_the_newer_tokens_of_another_replica,
    a_holder_that_stalls_past_its_lease_is_fenced_out,
    a_session_stays_with_the_key_that_it_began_with,
    a_session_whose_key_is_missing_waits_until_it_is_back,
    what_one_replica_began_another_goes_on_with,
    a_grant_that_ends_during_a_refresh_leaves_nothing_alive,
);

async fn a_lost_answer_is_tried_once_more_and_then_told_to_the_app(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    // The first request only learns the nonce.
    world.pds().next(Endpoint::Token).demands_nonce();
    world.pds().next(Endpoint::Token).drops_response();
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(503, "UpstreamFailure");
    assert_eq!(session(world).await.state, UpstreamState::Uncertain);
    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], true);

    // The PDS takes the second try for a replay and ends the session: it cannot be saved.
    world.pass(Duration::from_mins(5));
    let sent = world.pds().requests_to(Endpoint::Token).len();
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(401, "invalid_token").logged("lost_response");
    let lost = UpstreamState::NeedsReauth(ReauthReason::LostResponse);
    assert_eq!(session(world).await.state, lost);
    let tries = world.pds().requests_to(Endpoint::Token).len() - sent;
    assert!(
        (1..=2).contains(&tries),
        "{tries}: one, and one for a nonce"
    );
    let ended = world.audit(AuditKind::UpstreamEnded).await;
    assert_eq!(
        (ended.len(), ended[0].detail.as_str()),
        (1, "lost_response")
    );
    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], false);
    app.refresh(&tokens.refresh)
        .await
        .expect(400, "invalid_grant")
        .logged("the person must sign in again: lost_response");

    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_good_token_that_is_refused_once_keeps_its_session(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    // As of a PDS that cannot read its own store for a moment.
    let refuses = world.pds().next(Endpoint::Token);
    refuses.answers_error(StatusCode::BAD_REQUEST, "invalid_grant");
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(refreshes(world), 1);
    let kept = session(world).await;
    assert_eq!((kept.state, kept.generation), (UpstreamState::Active, 1));
}

async fn a_refusal_gives_way_to_the_newer_tokens_of_another_replica(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    let gate = world.pds().next(Endpoint::Token).holds(When::Before);
    let held = app.query(&tokens.access, GET_SESSION);
    let meanwhile = async {
        gate.reached_by(1).await;
        another_replica_refreshes(world).await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(held, meanwhile);
    // The PDS answered `invalid_grant` to the held refresh; the call works all the same.
    assert_eq!(answer.ok()["did"], world.alice().did.as_str());
    assert_eq!(refreshes(world), 0);
    let kept = session(world).await;
    assert_eq!((kept.state, kept.generation), (UpstreamState::Active, 1));
    assert!(world.audit(AuditKind::UpstreamEnded).await.is_empty());
}

/// New tokens for the story's session, stored by somebody else; the old ones are worthless.
async fn another_replica_refreshes(world: &World) {
    let session = session(world).await;
    let UpstreamState::Refreshing(lease) = &session.state else {
        panic!("nobody refreshes: {:?}", session.state);
    };
    let row = session.id.to_string();
    let place = |column| Aad {
        table: "upstream_sessions",
        column,
        row: &row,
    };
    let sealer = world.sealer();
    let Credential::OAuth(oauth) = &session.credential else {
        panic!("no session of OAuth");
    };
    let key = sealer
        .open_text(&oauth.dpop_key, place("dpop_key"))
        .unwrap();
    let key = SigningKey::from_jwk_json(key.expose_secret()).unwrap();
    let client_key = world
        .aip()
        .app
        .server
        .keys
        .current()
        .upstream_active()
        .public()
        .clone();
    world.pds().end_sessions(&session.did);
    let minted = world.pds().mint_session(&Mint {
        did: &session.did,
        client_id: &oauth.upstream_client_id,
        client_key: Some(&client_key),
        scope: &session.scope.to_string(),
        dpop_key: &key.public().thumbprint(),
    });
    let seal = |text: &str, column| sealer.seal(&SystemRng, text.as_bytes(), place(column));
    let now = world.clock.now();
    let refreshed = Refreshed {
        id: session.id,
        generation: session.generation,
        fence: lease.fence,
        tokens: SealedTokens {
            access: seal(&minted.access_token, "access_token").unwrap(),
            refresh: Some(seal(&minted.refresh_token, "refresh_token").unwrap()),
            access_expires_at: now + minted.expires_in,
        },
        pds: session.pds.clone(),
        scope: session.scope.clone(),
        next_refresh_at: now + minted.expires_in,
        partial: None,
        asked_at: now,
    };
    let storage = world.aip().app.server.storage.clone();
    assert_eq!(
        storage.store_refreshed(&refreshed).await.unwrap(),
        Settle::Stored
    );
}

async fn a_holder_that_stalls_past_its_lease_is_fenced_out(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let other = world.replica().await;
    let one = world.aip();
    world.pass(STALE);
    let gate = world.sandbox.plc.next().holds(When::After);
    world.lead_to(&one);
    let stalled = app.query(&tokens.access, GET_SESSION);
    let meanwhile = async {
        gate.reached_by(1).await;
        world
            .texts("UPDATE upstream_sessions SET lease_until = 0 RETURNING id")
            .await;
        world.lead_to(&other);
        app.query(&tokens.access, GET_SESSION).await.ok();
        gate.open();
    };
    let (answer, ()) = tokio::join!(stalled, meanwhile);
    assert_eq!(answer.ok()["did"], world.alice().did.as_str());
    assert_eq!(refreshes(world), 1, "the stalled one sent nothing");
    assert_eq!(session(world).await.generation, 1);
}

async fn a_session_stays_with_the_key_that_it_began_with(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let kids = || {
        let requests = world.pds().requests_to(Endpoint::Token);
        requests
            .iter()
            .filter_map(aip_sandbox::Received::assertion_kid)
            .collect::<Vec<_>>()
    };
    let old = world
        .aip()
        .app
        .server
        .keys
        .current()
        .upstream_active()
        .kid()
        .unwrap()
        .to_owned();
    let new = world.rotate_upstream_key().await;
    world.pds().forget_clients();

    world.pass(STALE);
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert!(kids().iter().all(|kid| *kid == old), "{:?}", kids());
    world.pds().forget_requests();
    app.sign_in(&world.browser(), world.bob()).await;
    assert!(
        !kids().is_empty() && kids().iter().all(|kid| *kid == new),
        "{:?}",
        kids()
    );
    let published = world
        .get("/oauth/upstream/jwks.json")
        .await
        .ok()
        .to_string();
    assert!(published.contains(&old) && published.contains(&new));
}

async fn a_session_whose_key_is_missing_waits_until_it_is_back(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let old = KEYS.upstream_active().kid().unwrap().to_owned();
    let new = world.rotate_upstream_key().await;
    let all = world.aip().app.server.keys.current().to_json().unwrap();
    let mut fewer: Value = serde_json::from_str(all.expose_secret()).unwrap();
    let keys = fewer["keys"].as_array_mut().unwrap();
    keys.retain(|key| key["kid"] != old.as_str());
    let fewer = KeySet::load_json(&fewer.to_string(), &[new]).unwrap();
    world.restart_with(fewer).await;

    world.pass(STALE);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(503, "UpstreamFailure");
    assert_eq!(refreshes(world), 0);
    let kept = session(world).await;
    assert_eq!((kept.state, kept.failures), (UpstreamState::Active, 1));
    assert!(kept.last_error.unwrap().contains(&old));
    assert!(world.audit(AuditKind::UpstreamEnded).await.is_empty());

    let all = KeySet::load_json(all.expose_secret(), &[]).unwrap();
    world.restart_with(all).await;
    world.pass(Duration::from_mins(5));
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn what_one_replica_began_another_goes_on_with(world: &World) {
    let app = world.app().await.with_dpop();
    let other = world.replica().await;
    let one = world.aip();
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    world.lead_to(&other);
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    world.lead_to(&one);
    let consent = browser.open(callback.as_str()).await;
    world.lead_to(&other);
    let code = pending.code(&browser.allow(&consent).await);
    world.lead_to(&one);
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    // The nonce of one is good at the other: no challenge comes between.
    world.lead_to(&other);
    let nonce = app.nonce();
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(app.nonce(), nonce);
    app.revoke(&tokens.refresh).await;
    world.lead_to(&one);
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
}

async fn a_grant_that_ends_during_a_refresh_leaves_nothing_alive(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    world.pds().next(Endpoint::Token).demands_nonce();
    let gate = world.pds().next(Endpoint::Token).holds(When::After);
    let used = app.query(&tokens.access, GET_SESSION);
    let meanwhile = async {
        gate.reached_by(1).await;
        assert_eq!(app.revoke(&tokens.refresh).await.status, 200);
        gate.open();
    };
    let (answer, ()) = tokio::join!(used, meanwhile);
    answer.expect(401, "invalid_token").logged("has ended");
    let ended = UpstreamState::Ended(EndReason::GrantRevoked);
    assert_eq!(session(world).await.state, ended);
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], false);
}
