//! Keeping sessions at PDSs alive: refreshed once, kept through every outage, and told honestly
//! when they are over.

use std::time::Duration;

use aip_base::{Clock as _, SystemRng};
use aip_jose::SigningKey;
use aip_keys::Aad;
use aip_sandbox::{Endpoint, Mint, PdsOptions, Reply, When};
use aip_storage::audit::AuditKind;
use aip_storage::upstream::{Refreshed, SealedTokens, Settle, UpstreamSession, UpstreamState};
use futures_util::future::join_all;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::app::{App, Tokens};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    d2_row12_fifty_uses_of_a_stale_session_make_one_refresh_and_all_succeed,
    d2_row13_an_outage_keeps_the_session_and_it_works_again_afterwards,
    d2_row13_a_pds_that_never_answers_keeps_the_session,
    d2_row15_a_refusal_gives_way_to_the_newer_tokens_of_another_replica,
    d2_row17_an_account_that_moved_is_not_refreshed_at_its_old_pds,
    d2_row68_a_rejected_token_is_refreshed_once_and_the_call_sent_once_more,
    a_restart_between_redirect_and_callback_loses_nothing,
);

const GET_SESSION: &str = "com.atproto.server.getSession";

/// Longer than an access token of the PDS lives.
const STALE: Duration = Duration::from_mins(61);

/// An app whose own access tokens outlive those of the PDS, and alice's tokens for it.
async fn app_with_session(world: &World) -> (App<'_>, Tokens) {
    let app = App::register(world, |settings| {
        settings.access_token_ttl = Duration::from_hours(24);
    });
    let app = app.await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    app.query(&tokens.access, GET_SESSION).await.ok();
    world.pds().forget_requests();
    (app, tokens)
}

/// The one upstream session of the story.
async fn session(world: &World) -> UpstreamSession {
    let ids = world.texts("SELECT id FROM upstream_sessions").await;
    let [id] = ids.as_slice() else {
        panic!("not one session: {ids:?}");
    };
    let storage = world.aip().app.server.storage.clone();
    storage
        .upstream_session(id.parse().unwrap())
        .await
        .unwrap()
        .unwrap()
}

/// How many refreshes the PDS took; demands for a nonce aside.
fn refreshes(world: &World) -> usize {
    let requests = world.pds().requests_to(Endpoint::Token);
    requests
        .iter()
        .filter(|it| it.answered() == Some(StatusCode::OK))
        .count()
}

async fn d2_row12_fifty_uses_of_a_stale_session_make_one_refresh_and_all_succeed(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    let uses = (0..50).map(|_| app.query(&tokens.access, GET_SESSION));
    for answer in join_all(uses).await {
        assert_eq!(answer.ok()["did"], world.alice().did.as_str());
    }
    assert_eq!(refreshes(world), 1);
    assert_eq!(session(world).await.generation, 1);
}

async fn d2_row13_an_outage_keeps_the_session_and_it_works_again_afterwards(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let pds = world.pds();
    for outage in [
        "unavailable",
        "rate limited",
        "reset",
        "down",
        "no directory",
    ] {
        world.pass(STALE);
        match outage {
            "unavailable" => pds.next(Endpoint::Token).is_unavailable(),
            "rate limited" => pds.next(Endpoint::Token).rate_limits(7),
            "reset" => pds.next(Endpoint::Token).drops_request(),
            "down" => pds.go_down().await,
            _ => world.sandbox.plc.go_down().await,
        }
        let answer = app.query(&tokens.access, GET_SESSION).await;
        answer.expect(503, "UpstreamFailure").logged("upstream");
        let kept = session(world).await;
        assert_eq!(kept.failures, 1, "{outage}");
        assert!(kept.tokens.refresh.is_some());

        // Nobody is asked again before the back-off is over.
        let asked = world.pds().requests().len();
        app.query(&tokens.access, GET_SESSION)
            .await
            .expect(503, "UpstreamFailure");
        assert_eq!(world.pds().requests().len(), asked, "{outage}");

        match outage {
            "down" => pds.come_up().await.unwrap(),
            "no directory" => world.sandbox.plc.come_up().await.unwrap(),
            _ => {}
        }
        world.pass(Duration::from_mins(5));
        app.query(&tokens.access, GET_SESSION).await.ok();
        assert_eq!(session(world).await.failures, 0, "{outage}");
    }
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    assert!(world.audit(AuditKind::UpstreamEnded).await.is_empty());
}

async fn d2_row13_a_pds_that_never_answers_keeps_the_session(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    world.pds().next(Endpoint::Token).hangs(When::Before);
    // AIP waits as long as its limit says: this is the one story that takes its time.
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(503, "UpstreamFailure");
    assert_eq!(session(world).await.state, UpstreamState::Uncertain);
    world.pass(Duration::from_mins(5));
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn d2_row15_a_refusal_gives_way_to_the_newer_tokens_of_another_replica(world: &World) {
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
    let key = sealer
        .open_text(&session.dpop_key, place("dpop_key"))
        .unwrap();
    let key = SigningKey::from_jwk_json(key.expose_secret()).unwrap();
    let client_key = world
        .aip()
        .app
        .server
        .keys
        .upstream_active()
        .public()
        .clone();
    world.pds().end_sessions(&session.did);
    let minted = world.pds().mint_session(&Mint {
        did: &session.did,
        client_id: &session.upstream_client_id,
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
        scope: session.scope.clone(),
        next_refresh_at: now + minted.expires_in,
        now,
    };
    let storage = world.aip().app.server.storage.clone();
    assert_eq!(
        storage.store_refreshed(&refreshed).await.unwrap(),
        Settle::Stored
    );
}

async fn d2_row17_an_account_that_moved_is_not_refreshed_at_its_old_pds(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let alice = &world.alice().did;
    let new_home = world
        .sandbox
        .another_pds(PdsOptions::default())
        .await
        .unwrap();
    new_home.adopt(world.pds(), alice).unwrap();
    world.pass(STALE);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(401, "invalid_token").logged("moved");
    assert_eq!(refreshes(world), 0, "the old server is asked nothing");
    let ended = world.audit(AuditKind::UpstreamEnded).await;
    assert_eq!(ended.len(), 1);
    assert_eq!(
        (ended[0].did.as_ref(), ended[0].detail.as_str()),
        (Some(alice), "moved")
    );
    app.refresh(&tokens.refresh)
        .await
        .expect(400, "invalid_grant");

    // Signing in again leads to the new home, and everything works there.
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(
        app.query(&tokens.access, GET_SESSION).await.ok()["did"],
        alice.as_str()
    );
    assert_eq!(new_home.live_sessions(alice), 1);
}

async fn d2_row68_a_rejected_token_is_refreshed_once_and_the_call_sent_once_more(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let method = Endpoint::Method(GET_SESSION);
    let body = json!({ "error": "invalid_token", "message": "on order of the story" });
    let challenge = "DPoP algs=\"ES256\", error=\"invalid_token\"";
    let rejection = Reply::json(StatusCode::UNAUTHORIZED, &body).with(WWW_AUTHENTICATE, challenge);

    world.pds().next(method).answers(rejection.clone());
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(
        (world.pds().requests_to(method).len(), refreshes(world)),
        (2, 1)
    );

    // A PDS that rejects fresh tokens, too, is not asked for ever.
    world.pds().forget_requests();
    world.pds().always(method).answers(rejection);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(502, "UpstreamFailure").logged("rejects");
    assert_eq!(
        (world.pds().requests_to(method).len(), refreshes(world)),
        (2, 1)
    );
    world.pds().heal(method);
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_restart_between_redirect_and_callback_loses_nothing(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let errand = app.errand(&[]);
    let login = browser.open(&errand.url).await;
    world.restart().await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    world.restart().await;
    let consent = browser.open(callback.as_str()).await;
    world.restart().await;
    let code = errand.code(&browser.allow(&consent).await);
    world.restart().await;
    let tokens = Tokens::of(&app.redeem(&errand, &code).await);
    world.restart().await;
    assert_eq!(
        app.userinfo(&tokens.access).await.ok()["sub"],
        world.alice().did.as_str()
    );
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert!(
        browser
            .open(&format!("{BASE}/account"))
            .await
            .answer
            .text()
            .contains("alice.test")
    );
}
