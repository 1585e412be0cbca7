//! The database goes to another server while people and apps use AIP: no session is lost, and what may be used
//! once stays used.

use aip_base::SystemRng;
use aip_sandbox::{Endpoint, When};
use aip_storage::upstream::UpstreamState;
use aip_storage_sql::{MAX_PAUSE, MoveObserver, MovePoint};
use async_trait::async_trait;

use crate::keeping::{GET_SESSION, STALE, app_with_session, refreshes, session};
use crate::world::{Engine, World, until};

struct SilentObserver;

#[async_trait]
impl MoveObserver for SilentObserver {
    async fn reached(&self, _: MovePoint) {}
    fn copied(&self, _: u64) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_refreshed_while_the_database_is_moved_goes_on() {
    let world = World::begin(Engine::Postgres).await;
    let (app, tokens) = app_with_session(&world).await;
    let id = session(&world).await.id;
    let the_move = world.begin_move().await;
    let other = world.replica().await;
    the_move.copy(&SilentObserver, &SystemRng).await.unwrap();

    // Written after the copy: a token is spent, and another person signs in.
    let second = app.refresh(&tokens.refresh).await.ok();
    let second_refresh = second["refresh_token"].as_str().unwrap().to_owned();
    let bob = app.sign_in(&world.browser(), world.bob()).await;
    world.pds().forget_requests();

    // The PDS has the refresh token, and answers when the database is elsewhere.
    world.pass(STALE);
    world.pds().next(Endpoint::Token).demands_nonce();
    let gate = world.pds().next(Endpoint::Token).holds(When::After);
    let keeper = other.app.keeper.clone();
    let used = other.run(async move { keeper.active_session(id).await });
    gate.reached_by(1).await;
    let moved = the_move.switch(&SilentObserver).await.unwrap();
    assert!(moved.paused <= MAX_PAUSE, "{moved:?}");
    gate.open();
    assert_eq!(used.await.unwrap().unwrap().generation, 1);
    until("nothing waits on the disk", async || world.spilled() == 0).await;
    let storage = world.aip().app.server.storage.clone();
    let kept = storage.upstream_session(id).await.unwrap().unwrap();
    assert_eq!((kept.state, kept.generation), (UpstreamState::Active, 1));
    assert_eq!(refreshes(&world), 1);

    // Both replicas are at the other server, and so is one that is started now.
    the_move.finish(&SilentObserver).await.unwrap();
    for replica in [other, world.aip()] {
        world.lead_to(&replica);
        app.query(&tokens.access, GET_SESSION).await.ok();
    }
    world.restart().await;
    app.query(&bob.access, GET_SESSION).await.ok();
    app.refresh(&second_refresh).await.ok();
    for person in [world.alice(), world.bob()] {
        assert_eq!(world.pds().live_sessions(&person.did), 1);
    }
    // A token that was spent before the move is a replay after it.
    app.refresh(&tokens.refresh)
        .await
        .expect(400, "invalid_grant");
    world.end().await;
}
