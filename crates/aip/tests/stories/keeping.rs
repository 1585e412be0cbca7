//! Keeping sessions at PDSs alive: refreshed once, kept through every outage, and told honestly
//! when they are over.

use std::time::Duration;

use aip_sandbox::{Endpoint, PdsOptions, Reply, When};
use aip_storage::audit::AuditKind;
use aip_storage::upstream::{UpstreamSession, UpstreamState};
use futures_util::future::join_all;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::json;

use crate::app::{App, Tokens};
use crate::on_both_engines;
use crate::world::{BASE, World, until};

on_both_engines!(
    fifty_uses_of_a_stale_session_at_three_replicas_make_one_refresh,
    an_outage_keeps_the_session_and_it_works_again_afterwards,
    a_pds_that_never_answers_keeps_the_session,
    an_account_that_moved_is_not_refreshed_at_its_old_pds,
    a_rejected_token_is_refreshed_once_and_the_call_sent_once_more,
    a_restart_between_redirect_and_callback_loses_nothing,
);

pub(crate) const GET_SESSION: &str = "com.atproto.server.getSession";

/// Longer than an access token of the PDS lives.
pub(crate) const STALE: Duration = Duration::from_mins(61);

/// An app whose own access tokens outlive those of the PDS, and alice's tokens for it.
pub(crate) async fn app_with_session(world: &World) -> (App<'_>, Tokens) {
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
pub(crate) async fn session(world: &World) -> UpstreamSession {
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
pub(crate) fn refreshes(world: &World) -> usize {
    let requests = world.pds().requests_to(Endpoint::Token);
    requests
        .iter()
        .filter(|it| it.answered() == Some(StatusCode::OK))
        .count()
}

async fn fifty_uses_of_a_stale_session_at_three_replicas_make_one_refresh(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let replicas = [world.replica().await, world.replica().await, world.aip()];
    world.pass(STALE);
    let uses = (0..50).map(async |number| {
        world.lead_to(&replicas[number % replicas.len()]);
        app.query(&tokens.access, GET_SESSION).await
    });
    for answer in join_all(uses).await {
        assert_eq!(answer.ok()["did"], world.alice().did.as_str());
    }
    assert_eq!(refreshes(world), 1);
    assert_eq!(session(world).await.generation, 1);
}

async fn an_outage_keeps_the_session_and_it_works_again_afterwards(world: &World) {
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

async fn a_pds_that_never_answers_keeps_the_session(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    world.pass(STALE);
    world.pds().next(Endpoint::Token).hangs(When::Before);
    // A caller waits as long as its limit says: this is the one story that takes its time.
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(503, "UpstreamFailure");
    // The refresh goes on without it, as long as an answer can come.
    let waits = session(world).await.state;
    assert!(matches!(waits, UpstreamState::Refreshing(_)), "{waits:?}");
    world.pds().go_down().await;
    until("the outcome is unknown", async || {
        session(world).await.state == UpstreamState::Uncertain
    })
    .await;
    world.pds().come_up().await.unwrap();
    world.pass(Duration::from_mins(5));
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn an_account_that_moved_is_not_refreshed_at_its_old_pds(world: &World) {
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

async fn a_rejected_token_is_refreshed_once_and_the_call_sent_once_more(world: &World) {
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
}

async fn a_restart_between_redirect_and_callback_loses_nothing(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    world.restart().await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    world.restart().await;
    let consent = browser.open(callback.as_str()).await;
    world.restart().await;
    let code = pending.code(&browser.allow(&consent).await);
    world.restart().await;
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
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
