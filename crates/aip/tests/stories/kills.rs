//! Processes that are killed in the middle of a refresh, databases that are away, and replicas that
//! hear of each other: whatever was received is kept.

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Timestamp};
use aip_sandbox::{Endpoint, When};
use aip_sessions::KeeperError;
use aip_storage::upstream::{ReauthReason, UpstreamState};
use aip_testkit::clock::ManualClock;

use crate::app::{App, Tokens};
use crate::browser::{Browser, Page};
use crate::keeping::{GET_SESSION, STALE, app_with_session, refreshes, session};
use crate::on_both_engines;
use crate::world::{BASE, World, until};

on_both_engines!(
    tokens_that_could_not_be_stored_survive_a_kill,
    a_kill_between_send_and_store_costs_one_more_try_and_not_at_once,
    tokens_of_a_stalled_holder_are_kept_while_nobody_has_sent_since,
    a_waiter_at_another_replica_is_woken_by_a_notice,
    replicas_whose_clocks_differ_work_together,
    a_sign_in_is_finished_though_its_browser_has_left,
    tokens_that_nobody_needs_are_revoked_though_the_browser_has_left,
    a_caller_that_leaves_while_its_lease_is_taken_holds_up_nobody,
    sessions_that_a_scheduler_claims_while_it_is_stopped_are_refreshed,
    a_session_that_is_claimed_while_a_caller_asks_for_its_lease_is_refreshed_at_once,
);

/// The shared clock plus an offset in seconds.
struct SkewedClock(Arc<ManualClock>, i64);

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let skew = Duration::from_secs(self.1.unsigned_abs());
        if self.1 < 0 {
            self.0.now() - skew
        } else {
            self.0.now() + skew
        }
    }
}

/// Ends the lease of every session.
async fn expire_lease(world: &World) {
    world
        .texts("UPDATE upstream_sessions SET lease_until = 0 RETURNING id")
        .await;
}

async fn fence(world: &World) -> i64 {
    let fence = "SELECT CAST(fence AS TEXT) FROM upstream_sessions";
    world.texts(fence).await[0].parse().unwrap()
}

async fn tokens_that_could_not_be_stored_survive_a_kill(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let id = session(world).await.id;
    world.pass(STALE);
    // The first request only learns the nonce.
    world.pds().next(Endpoint::Token).demands_nonce();
    let gate = world.pds().next(Endpoint::Token).holds(When::After);
    let doomed = world.aip();
    let keeper = doomed.app.keeper.clone();
    let used = doomed.run(async move { keeper.active_session(id).await.map(drop) });
    gate.reached_by(1).await;
    let away = world.block_writes().await;
    gate.open();
    until("the tokens are on the disk", async || world.spilled() == 1).await;

    doomed.kill();
    assert!(used.await.is_err(), "it was killed");
    away.release().await;
    world.restart().await;
    assert_eq!(session(world).await.generation, 0);
    world.keeper_round().await;

    assert_eq!(world.spilled(), 0);
    let kept = session(world).await;
    assert_eq!((kept.state, kept.generation), (UpstreamState::Active, 1));
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(refreshes(world), 1);
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
}

async fn a_kill_between_send_and_store_costs_one_more_try_and_not_at_once(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let id = session(world).await.id;
    world.pass(STALE);
    world.pds().next(Endpoint::Token).demands_nonce();
    let gate = world.pds().next(Endpoint::Token).holds(When::After);
    let doomed = world.aip();
    let keeper = doomed.app.keeper.clone();
    let used = doomed.run(async move { keeper.active_session(id).await.map(drop) });
    gate.reached_by(1).await;
    doomed.kill();
    assert!(used.await.is_err(), "it was killed");
    world.restart().await;
    gate.open();
    expire_lease(world).await;

    // Its sender may come back with new tokens, so nothing is sent at first.
    let sent = world.pds().requests_to(Endpoint::Token).len();
    let fence_before = fence(world).await;
    let keeper = world.aip().app.keeper.clone();
    let used = world
        .aip()
        .run(async move { keeper.active_session(id).await });
    until("the lease is held", async || {
        fence(world).await > fence_before
    })
    .await;
    assert_eq!(world.pds().requests_to(Endpoint::Token).len(), sent);

    // It did not come. The PDS takes the old token for a replay: the session cannot be saved.
    expire_lease(world).await;
    let lost = used.await.unwrap().unwrap_err();
    let reason = ReauthReason::LostResponse;
    assert!(
        matches!(lost, KeeperError::NeedsReauth(it) if it == reason),
        "{lost}"
    );
    assert_eq!(refreshes(world), 0, "nobody got the one answer there was");
    app.refresh(&tokens.refresh)
        .await
        .expect(400, "invalid_grant");
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn tokens_of_a_stalled_holder_are_kept_while_nobody_has_sent_since(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let id = session(world).await.id;
    let stalled = world.replica().await;
    world.pass(STALE);
    world.pds().next(Endpoint::Token).demands_nonce();
    let gate = world.pds().next(Endpoint::Token).holds(When::After);
    let keeper = stalled.app.keeper.clone();
    let first = stalled.run(async move { keeper.active_session(id).await });
    gate.reached_by(1).await;

    // The lease lapses, another replica takes it, and leaves the token alone.
    expire_lease(world).await;
    let fence_before = fence(world).await;
    let keeper = world.aip().app.keeper.clone();
    let second = world
        .aip()
        .run(async move { keeper.active_session(id).await });
    until("the lease is held", async || {
        fence(world).await > fence_before
    })
    .await;
    gate.open();

    assert_eq!(first.await.unwrap().unwrap().generation, 1);
    assert_eq!(second.await.unwrap().unwrap().generation, 1);
    assert_eq!(refreshes(world), 1);
    assert_eq!(session(world).await.state, UpstreamState::Active);
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_waiter_at_another_replica_is_woken_by_a_notice(world: &World) {
    let (_, _) = app_with_session(world).await;
    let id = session(world).await.id;
    let one = world.replica().await;
    let other = world.aip();
    for replica in [&one, &other] {
        replica.run(replica.app.keeper.clone().run());
    }
    world.pass(STALE);
    world.pds().next(Endpoint::Token).demands_nonce();
    let gate = world.pds().next(Endpoint::Token).holds(When::After);
    let keeper = one.app.keeper.clone();
    let first = one.run(async move { keeper.active_session(id).await });
    gate.reached_by(1).await;
    let keeper = other.app.keeper.clone();
    let second = other.run(async move { keeper.active_session(id).await });
    gate.open();
    assert_eq!(first.await.unwrap().unwrap().generation, 1);
    assert_eq!(second.await.unwrap().unwrap().generation, 1);
    assert_eq!(refreshes(world), 1);
}

async fn replicas_whose_clocks_differ_work_together(world: &World) {
    let skewed = |seconds| Arc::new(SkewedClock(world.clock.clone(), seconds));
    let exact = world.replica_by(skewed(30)).await;
    let fast = world.replica_by(skewed(-30)).await;
    let slow = world.aip();
    let app = App::register(world, |settings| {
        settings.access_token_ttl = Duration::from_hours(24);
    });
    let app = app.await.with_dpop();
    for (begins, goes_on) in [
        (&fast, &exact),
        (&exact, &fast),
        (&slow, &exact),
        (&exact, &slow),
    ] {
        let browser = world.browser();
        let pending = app.begin_authorization(&[]);
        world.lead_to(begins);
        let login = browser.open(&pending.url).await;
        world.lead_to(goes_on);
        let at_pds = browser.sign_in_as(&login, "alice.test").await;
        let callback = browser.at_pds(&at_pds, world.alice()).await;
        world.lead_to(begins);
        let consent = browser.open(callback.as_str()).await;
        let code = pending.code(&browser.allow(&consent).await);
        world.lead_to(goes_on);
        let tokens = Tokens::of(&app.redeem(&pending, &code).await);
        world.lead_to(begins);
        app.query(&tokens.access, GET_SESSION).await.ok();
        world.pass(STALE);
        world.lead_to(goes_on);
        app.query(&tokens.access, GET_SESSION).await.ok();
        world.lead_to(begins);
        app.query(&tokens.access, GET_SESSION).await.ok();
        let fresh = Tokens::of(&app.refresh(&tokens.refresh).await);
        world.lead_to(goes_on);
        assert_eq!(app.introspect(&fresh.access).await.ok()["active"], true);
        app.revoke(&fresh.refresh).await;
        world.lead_to(begins);
        assert_eq!(app.introspect(&fresh.access).await.ok()["active"], false);
    }
}

async fn a_sign_in_is_finished_though_its_browser_has_left(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let login = browser.open(&app.begin_authorization(&[]).url).await;
    let at_pds = browser
        .sign_in_as(&login, world.alice().handle.as_str())
        .await;
    leave_during_callback(world, &browser, &at_pds).await;

    // What a shutdown waits for.
    world.aip().app.handlers.close();
    world.aip().app.handlers.wait().await;
    let signed_in =
        "SELECT signed_in_did FROM authorization_requests WHERE signed_in_did IS NOT NULL";
    assert_eq!(world.texts(signed_in).await, [world.alice().did.as_str()]);
    assert_eq!(session(world).await.state, UpstreamState::Active);
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
}

async fn tokens_that_nobody_needs_are_revoked_though_the_browser_has_left(world: &World) {
    let browser = world.browser();
    let login = browser.open(&format!("{BASE}/login")).await;
    let at_pds = browser
        .sign_in_as(&login, world.alice().handle.as_str())
        .await;
    leave_during_callback(world, &browser, &at_pds).await;

    until("the session at the PDS is over", async || {
        world.pds().live_sessions(&world.alice().did) == 0
    })
    .await;
}

/// The person comes back from the PDS and closes the window while AIP exchanges the code.
async fn leave_during_callback(world: &World, browser: &Browser<'_>, at_pds: &Page) {
    let callback = browser.at_pds(at_pds, world.alice()).await;
    world.pds().next(Endpoint::Token).demands_nonce();
    let gate = world.pds().next(Endpoint::Token).holds(When::After);
    tokio::select! {
        _ = browser.open(callback.as_str()) => panic!("it is held"),
        () = gate.reached_by(1) => {}
    }
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    gate.open();
}

/// Far less than a lease.
const AT_ONCE: Duration = Duration::from_secs(10);

async fn a_caller_that_leaves_while_its_lease_is_taken_holds_up_nobody(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let id = session(world).await.id;
    for round in 1..=3 {
        world.pass(STALE);
        let away = world.block_writes().await;
        let aip = world.aip();
        let keeper = aip.app.keeper.clone();
        let used = aip.run(async move { keeper.active_session(id).await.map(drop) });
        until_in_flight(world, 1).await;
        used.abort();
        assert!(used.await.is_err(), "the caller has left");
        away.release().await;

        let used = app.query(&tokens.access, GET_SESSION);
        tokio::time::timeout(AT_ONCE, used).await.unwrap().ok();
        assert_eq!(refreshes(world), round);
    }
}

async fn a_session_that_is_claimed_while_a_caller_asks_for_its_lease_is_refreshed_at_once(
    world: &World,
) {
    let (app, tokens) = app_with_session(world).await;
    for round in 1..=10 {
        world.pass(STALE);
        world
            .texts("UPDATE upstream_sessions SET next_refresh_at = 0 RETURNING id")
            .await;
        let away = world.block_writes().await;
        let aip = world.aip();
        let keeper = aip.app.keeper.clone();
        let scheduled = aip.run(async move { keeper.round().await.unwrap() });
        let used = app.query(&tokens.access, GET_SESSION);
        let release = async {
            // The claim of the scheduler, and the caller.
            until_in_flight(world, 2).await;
            away.release().await;
        };
        let both = async { tokio::join!(used, release, scheduled) };
        let (used, (), scheduled) = tokio::time::timeout(AT_ONCE, both).await.unwrap();
        used.ok();
        scheduled.unwrap();
        assert_eq!(refreshes(world), round);
    }
}

async fn sessions_that_a_scheduler_claims_while_it_is_stopped_are_refreshed(world: &World) {
    app_with_session(world).await;
    for round in 1..=3 {
        world.pass(STALE);
        world
            .texts("UPDATE upstream_sessions SET next_refresh_at = 0 RETURNING id")
            .await;
        let away = world.block_writes().await;
        let aip = world.aip();
        let scheduler = aip.run(Arc::clone(&aip.app.keeper).run());
        until_in_flight(world, 1).await;
        scheduler.abort();
        assert!(scheduler.await.is_err(), "it was stopped");
        away.release().await;
        // What a process that ends waits for.
        assert_eq!(aip.app.keeper.drain(AT_ONCE).await, 0);
        assert_eq!(refreshes(world), round);
    }
}

async fn until_in_flight(world: &World, count: usize) {
    let keeper = world.aip().app.keeper.clone();
    until("a refresh is in flight", async || {
        keeper.drain(Duration::ZERO).await == count
    })
    .await;
}
