//! The keeper's verbs.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{RowId, Timestamp};
use aip_storage::grant::{RevokeReason, Rotate};
use aip_storage::refresh::{
    Claim, FailedRefresh, JournalEntry, RefreshFailure, Refreshed, Settle, TakeLease,
};
use aip_storage::upstream::{EndReason, Lease, ReauthReason, Rejections, UpstreamState};
use strum::IntoEnumIterator as _;

use crate::claims;
use crate::world::{
    HOUR, MINUTE, NOW, SECOND, World, alice, at_once, new_hash, rotation_of, scope, sealed_tokens,
};

super::on_both_engines!(
    one_of_many_gets_the_lease_and_the_others_hear_until_when,
    a_lapsed_lease_is_taken_over_with_a_higher_fence,
    a_lease_names_the_generation_that_was_read,
    a_refresh_is_stored_once_under_its_lease,
    a_stalled_holder_can_neither_send_nor_store,
    nothing_is_sent_under_a_lapsed_lease,
    a_sent_refresh_is_remembered_until_it_is_settled,
    a_retry_keeps_what_is_known_of_the_session,
    definite_refusals_count_while_they_are_in_a_row,
    a_lost_answer_makes_the_session_uncertain_until_a_refresh_succeeds,
    a_session_that_needs_its_person_is_not_leased_again,
    a_session_that_was_ended_meanwhile_stays_ended,
    the_grants_of_a_session_that_needs_its_person_end_with_it,
    received_tokens_are_stored_after_the_lease_unless_somebody_has_sent_since,
    who_takes_a_lease_hears_what_was_left_behind,
    a_lease_can_be_held_for_longer,
    what_was_not_tried_is_no_failure,
    tokens_that_are_rejected_for_good_end_the_grants,
    tokens_that_are_rejected_while_somebody_refreshes_end_nothing,
);

/// Long enough that it does not lapse while a story runs.
const LONG: Duration = HOUR;
const MILLISECOND: Duration = Duration::from_millis(1);

async fn one_of_many_gets_the_lease_and_the_others_hear_until_when(world: World) {
    let id = session(&world).await;

    let outcomes = at_once(8, |n| {
        let storage = Arc::clone(&world.storage);
        async move {
            storage
                .lease(id, 1, &format!("replica {n}"), LONG, NOW)
                .await
                .unwrap()
        }
    })
    .await;

    let leases: Vec<_> = outcomes
        .iter()
        .filter_map(|it| match it {
            TakeLease::Leased(claim) => Some(&claim.lease),
            TakeLease::Held(_) | TakeLease::Changed => None,
        })
        .collect();
    assert_eq!(leases.len(), 1, "{outcomes:?}");
    let lease = leases[0].clone();
    assert_eq!(
        outcomes
            .iter()
            .filter(|it| **it == TakeLease::Held(lease.until))
            .count(),
        7
    );
    assert_eq!(state(&world, id).await, UpstreamState::Refreshing(lease));
}

async fn a_lapsed_lease_is_taken_over_with_a_higher_fence(world: World) {
    let id = session(&world).await;
    let first = lease(&world, id, Duration::from_millis(50)).await;

    let second = take_over(&world, id).await;

    assert_eq!(second.fence, first.fence + 1);
    assert!(second.until > first.until);
}

async fn a_lease_names_the_generation_that_was_read(world: World) {
    let id = session(&world).await;
    let outcome = world
        .storage
        .lease(id, 2, "replica", LONG, NOW)
        .await
        .unwrap();
    assert_eq!(outcome, TakeLease::Changed);
    assert_eq!(state(&world, id).await, UpstreamState::Active);
}

async fn a_refresh_is_stored_once_under_its_lease(world: World) {
    let id = session(&world).await;
    let lease = lease(&world, id, LONG).await;
    let refreshed = refreshed(id, lease.fence);

    assert_eq!(
        world.storage.store_refreshed(&refreshed).await.unwrap(),
        Settle::Stored
    );
    assert_eq!(
        world.storage.store_refreshed(&refreshed).await.unwrap(),
        Settle::Superseded
    );

    let session = world.storage.upstream_session(id).await.unwrap().unwrap();
    assert_eq!(session.generation, 2);
    assert_eq!(session.state, UpstreamState::Active);
    assert_eq!(session.tokens.access.as_str(), "second access");
    assert_eq!(session.tokens.refresh.unwrap().as_str(), "second refresh");
    assert_eq!(session.scope, refreshed.scope);
    assert_eq!(session.pds, refreshed.pds);
    assert_eq!(session.next_refresh_at, refreshed.next_refresh_at);
    assert_eq!(session.refreshed_at, refreshed.asked_at);
    let again = world
        .storage
        .lease(id, 2, "replica", LONG, NOW)
        .await
        .unwrap();
    assert!(matches!(again, TakeLease::Leased(it) if it.lease.fence == lease.fence + 1));
}

async fn a_stalled_holder_can_neither_send_nor_store(world: World) {
    let id = session(&world).await;
    let stalled = lease(&world, id, Duration::from_millis(50)).await;
    let holder = take_over(&world, id).await;

    let sent = world
        .storage
        .journal_sent(&entry(id, stalled.fence))
        .await
        .unwrap();
    assert_eq!(sent, Settle::Superseded);
    let stored = world
        .storage
        .store_refreshed(&refreshed(id, stalled.fence))
        .await
        .unwrap();
    assert_eq!(stored, Settle::Superseded);
    let failure = RefreshFailure::NeedsReauth(ReauthReason::Refused);
    let failed = world
        .storage
        .settle_failure(failed(id, stalled.fence, &failure, NOW))
        .await
        .unwrap();
    assert_eq!(failed, Settle::Superseded);
    assert_eq!(state(&world, id).await, UpstreamState::Refreshing(holder));
}

async fn nothing_is_sent_under_a_lapsed_lease(world: World) {
    let id = session(&world).await;
    let lease = lease(&world, id, Duration::ZERO).await;

    let mut entry = entry(id, lease.fence);
    entry.sent_at = NOW + SECOND;

    assert_eq!(
        world.storage.journal_sent(&entry).await.unwrap(),
        Settle::Superseded
    );
    assert_eq!(world.storage.journalled(id).await.unwrap(), None);
}

async fn a_sent_refresh_is_remembered_until_it_is_settled(world: World) {
    for success in [true, false] {
        let id = session(&world).await;
        let lease = lease(&world, id, LONG).await;
        let entry = entry(id, lease.fence);

        assert_eq!(
            world.storage.journal_sent(&entry).await.unwrap(),
            Settle::Stored
        );
        assert_eq!(world.storage.journalled(id).await.unwrap(), Some(entry));

        let settled = if success {
            world
                .storage
                .store_refreshed(&refreshed(id, lease.fence))
                .await
                .unwrap()
        } else {
            let failure = RefreshFailure::Retry(NOW);
            world
                .storage
                .settle_failure(failed(id, lease.fence, &failure, NOW))
                .await
                .unwrap()
        };
        assert_eq!(settled, Settle::Stored);
        assert_eq!(world.storage.journalled(id).await.unwrap(), None);
    }
}

async fn a_retry_keeps_what_is_known_of_the_session(world: World) {
    let id = session(&world).await;
    for (first, then) in [
        (RefreshFailure::Retry(NOW + MINUTE), UpstreamState::Active),
        (
            RefreshFailure::Uncertain(NOW + MINUTE),
            UpstreamState::Uncertain,
        ),
        (
            RefreshFailure::Retry(NOW + 2 * MINUTE),
            UpstreamState::Uncertain,
        ),
    ] {
        let lease = lease(&world, id, LONG).await;
        let settled = world
            .storage
            .settle_failure(failed(id, lease.fence, &first, NOW))
            .await
            .unwrap();
        assert_eq!(settled, Settle::Stored);
        assert_eq!(state(&world, id).await, then);
    }
    let session = world.storage.upstream_session(id).await.unwrap().unwrap();
    assert_eq!(session.last_error.as_deref(), Some("503"));
    assert_eq!((session.failures, session.generation), (3, 1));
    assert_eq!(session.next_refresh_at, NOW + 2 * MINUTE);
}

async fn definite_refusals_count_while_they_are_in_a_row(world: World) {
    let id = session(&world).await;
    let settle = async |failure, now| {
        let lease = lease(&world, id, LONG).await;
        let failure = failed(id, lease.fence, &failure, now);
        world.storage.settle_failure(failure).await.unwrap();
        let session = world.storage.upstream_session(id).await.unwrap();
        session.unwrap().rejected
    };
    let rejected = || RefreshFailure::Rejected(NOW);
    let row = |times, since| Some(Rejections { times, since });
    assert_eq!(settle(rejected(), NOW).await, row(1, NOW));
    assert_eq!(settle(rejected(), NOW + MINUTE).await, row(2, NOW));
    let deferred = RefreshFailure::Deferred(NOW);
    assert_eq!(settle(deferred, NOW + MINUTE).await, row(2, NOW));
    assert_eq!(settle(rejected(), NOW + HOUR).await, row(3, NOW));
    // An outage in between says that the server is not well.
    for other in [RefreshFailure::Retry(NOW), RefreshFailure::Uncertain(NOW)] {
        assert_eq!(settle(other, NOW + HOUR).await, None);
        assert_eq!(settle(rejected(), NOW + HOUR).await, row(1, NOW + HOUR));
    }

    let lease = lease(&world, id, LONG).await;
    let stored = refreshed(id, lease.fence);
    world.storage.store_refreshed(&stored).await.unwrap();
    let session = world.storage.upstream_session(id).await.unwrap().unwrap();
    assert_eq!(session.rejected, None);
}

async fn a_lost_answer_makes_the_session_uncertain_until_a_refresh_succeeds(world: World) {
    let id = session(&world).await;
    let first = lease(&world, id, LONG).await;
    let failure = RefreshFailure::Uncertain(NOW);
    world
        .storage
        .settle_failure(failed(id, first.fence, &failure, NOW))
        .await
        .unwrap();
    let second = lease(&world, id, LONG).await;

    world
        .storage
        .store_refreshed(&refreshed(id, second.fence))
        .await
        .unwrap();

    let session = world.storage.upstream_session(id).await.unwrap().unwrap();
    assert_eq!(
        (session.state, session.failures),
        (UpstreamState::Active, 0)
    );
}

async fn a_session_that_needs_its_person_is_not_leased_again(world: World) {
    for reason in ReauthReason::iter() {
        let id = session(&world).await;
        let lease = lease(&world, id, LONG).await;
        let failure = RefreshFailure::NeedsReauth(reason);
        world
            .storage
            .settle_failure(failed(id, lease.fence, &failure, NOW))
            .await
            .unwrap();

        assert_eq!(state(&world, id).await, UpstreamState::NeedsReauth(reason));
        let again = world
            .storage
            .lease(id, 1, "replica", LONG, NOW)
            .await
            .unwrap();
        assert_eq!(again, TakeLease::Changed);
        let due = claims::claim(&world, NOW + 2 * HOUR, 10, &[]).await;
        assert!(due.is_empty(), "{due:?}");
    }
}

async fn the_grants_of_a_session_that_needs_its_person_end_with_it(world: World) {
    let client = world.client("app").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    let (other, _) = world.redeemed(&client, &alice()).await;
    let id = grant.upstream_session;
    let lease = lease(&world, id, LONG).await;
    let failure = RefreshFailure::NeedsReauth(ReauthReason::Moved);
    let settled = world
        .storage
        .settle_failure(failed(id, lease.fence, &failure, NOW + MINUTE))
        .await
        .unwrap();
    assert_eq!(settled, Settle::Stored);

    let rotated = world
        .storage
        .rotate_refresh_token(&rotation_of(&client, &tokens))
        .await
        .unwrap();
    let Rotate::Ended(ended) = rotated else {
        panic!("{rotated:?}");
    };
    let revoked = ended.revoked.unwrap();
    assert_eq!(
        (revoked.at, revoked.reason),
        (NOW + MINUTE, RevokeReason::UpstreamEnded)
    );
    let live = world.storage.grants_of(&alice()).await.unwrap();
    let live: Vec<_> = live.iter().map(|it| it.id).collect();
    assert_eq!(live, [other.id], "another session's grant lives on");
}

async fn a_session_that_was_ended_meanwhile_stays_ended(world: World) {
    let id = session(&world).await;
    let lease = lease(&world, id, LONG).await;
    world
        .storage
        .end_unused_session(id, EndReason::GrantRevoked, NOW)
        .await
        .unwrap();

    let stored = world
        .storage
        .store_refreshed(&refreshed(id, lease.fence))
        .await
        .unwrap();

    assert_eq!(stored, Settle::Superseded);
    assert_eq!(
        state(&world, id).await,
        UpstreamState::Ended(EndReason::GrantRevoked)
    );
}

async fn received_tokens_are_stored_after_the_lease_unless_somebody_has_sent_since(world: World) {
    for others in ["nobody", "only looked", "has failed unsent", "has sent"] {
        let id = session(&world).await;
        let sender = lease(&world, id, 200 * MILLISECOND).await;
        let sent = world.storage.journal_sent(&entry(id, sender.fence)).await;
        assert_eq!(sent.unwrap(), Settle::Stored);
        if others != "nobody" {
            let next = take_over(&world, id).await;
            if others == "has sent" {
                let sent = world.storage.journal_sent(&entry(id, next.fence)).await;
                assert_eq!(sent.unwrap(), Settle::Stored);
            }
            if others == "has failed unsent" {
                let failure = RefreshFailure::Uncertain(NOW);
                let failed = failed(id, next.fence, &failure, NOW);
                let settled = world.storage.settle_failure(failed).await.unwrap();
                assert_eq!(settled, Settle::Stored);
                assert!(world.storage.journalled(id).await.unwrap().is_some());
            }
        }

        let refreshed = refreshed(id, sender.fence);
        let stored = world.storage.store_refreshed(&refreshed).await.unwrap();
        if others == "has sent" {
            assert_eq!(stored, Settle::Superseded);
        } else {
            assert_eq!(stored, Settle::Stored, "{others}");
            assert_eq!(state(&world, id).await, UpstreamState::Active);
            assert_eq!(world.storage.journalled(id).await.unwrap(), None);
        }
    }
}

async fn who_takes_a_lease_hears_what_was_left_behind(world: World) {
    let id = session(&world).await;
    let sender = lease(&world, id, 200 * MILLISECOND).await;
    let sent = world.storage.journal_sent(&entry(id, sender.fence)).await;
    assert_eq!(sent.unwrap(), Settle::Stored);

    let claim = take_over_claim(&world, id).await;
    assert_eq!(claim.sent_under, Some(sender.fence));
    assert!(!claim.uncertain);

    let failure = RefreshFailure::Uncertain(NOW);
    let failed = failed(id, claim.lease.fence, &failure, NOW);
    world.storage.settle_failure(failed).await.unwrap();
    let claim = take_over_claim(&world, id).await;
    assert_eq!(claim.sent_under, Some(sender.fence));
    assert!(claim.uncertain);

    let fresh = session(&world).await;
    let claim = take_over_claim(&world, fresh).await;
    assert_eq!((claim.sent_under, claim.uncertain), (None, false));
}

async fn a_lease_can_be_held_for_longer(world: World) {
    let id = session(&world).await;
    let lease = lease(&world, id, MILLISECOND).await;
    let hold = async |fence| {
        let held = world.storage.hold_lease(id, fence, LONG, NOW + SECOND);
        held.await.unwrap()
    };
    assert_eq!(hold(lease.fence + 1).await, Settle::Superseded);
    assert_eq!(hold(lease.fence).await, Settle::Stored);
    let later = NOW + MINUTE;
    let other = world.storage.lease(id, 1, "other", LONG, later).await;
    assert!(matches!(other.unwrap(), TakeLease::Held(until) if until > lease.until));
}

async fn what_was_not_tried_is_no_failure(world: World) {
    let id = session(&world).await;
    let lease = lease(&world, id, LONG).await;
    let failure = RefreshFailure::Deferred(NOW + MINUTE);
    let failed = failed(id, lease.fence, &failure, NOW);
    world.storage.settle_failure(failed).await.unwrap();
    let session = world.storage.upstream_session(id).await.unwrap().unwrap();
    assert_eq!(
        (session.state, session.failures),
        (UpstreamState::Active, 0)
    );
    assert_eq!(session.next_refresh_at, NOW + MINUTE);
    assert_eq!(session.last_error, None);
}

async fn tokens_that_are_rejected_for_good_end_the_grants(world: World) {
    let client = world.client("app").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    let id = grant.upstream_session;
    let reject = async |generation| {
        let rejected = world.storage.reject_tokens(id, generation, NOW + MINUTE);
        rejected.await.unwrap()
    };
    assert_eq!(reject(2).await, Settle::Superseded);
    assert_eq!(reject(1).await, Settle::Stored);
    assert_eq!(reject(1).await, Settle::Superseded);
    let rejected = UpstreamState::NeedsReauth(ReauthReason::Rejected);
    assert_eq!(state(&world, id).await, rejected);
    let rotation = rotation_of(&client, &tokens);
    let rotated = world.storage.rotate_refresh_token(&rotation).await.unwrap();
    assert!(matches!(rotated, Rotate::Ended(_)));
}

async fn tokens_that_are_rejected_while_somebody_refreshes_end_nothing(world: World) {
    let id = session(&world).await;
    let lease = lease(&world, id, LONG).await;
    let rejected = world.storage.reject_tokens(id, 1, NOW).await.unwrap();
    assert_eq!(rejected, Settle::Superseded);
    assert_eq!(state(&world, id).await, UpstreamState::Refreshing(lease));
}

async fn session(world: &World) -> RowId {
    world.session(&"app".parse().unwrap(), &alice()).await.id
}

async fn state(world: &World, id: RowId) -> UpstreamState {
    world
        .storage
        .upstream_session(id)
        .await
        .unwrap()
        .unwrap()
        .state
}

async fn lease(world: &World, id: RowId, length: Duration) -> Lease {
    match world
        .storage
        .lease(id, 1, "first", length, NOW)
        .await
        .unwrap()
    {
        TakeLease::Leased(claim) => claim.lease,
        other => panic!("{other:?}"),
    }
}

/// Tries for the lease until the present one has lapsed, by whichever clock the engine uses.
async fn take_over(world: &World, id: RowId) -> Lease {
    take_over_claim(world, id).await.lease
}

async fn take_over_claim(world: &World, id: RowId) -> Claim {
    let begin = tokio::time::Instant::now();
    loop {
        let waited = begin.elapsed();
        assert!(waited < 10 * SECOND, "the lease never lapses");
        match world
            .storage
            .lease(id, 1, "second", LONG, NOW + waited)
            .await
            .unwrap()
        {
            TakeLease::Leased(claim) => return claim,
            TakeLease::Held(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            TakeLease::Changed => panic!("the session changed"),
        }
    }
}

fn failed(id: RowId, fence: i64, failure: &RefreshFailure, now: Timestamp) -> FailedRefresh<'_> {
    FailedRefresh {
        id,
        generation: 1,
        fence,
        failure,
        error: "503",
        now,
    }
}

fn entry(id: RowId, fence: i64) -> JournalEntry {
    JournalEntry {
        id,
        fence,
        refresh: new_hash(),
        sent_at: NOW,
    }
}

fn refreshed(id: RowId, fence: i64) -> Refreshed {
    Refreshed {
        id,
        generation: 1,
        fence,
        tokens: sealed_tokens("second"),
        pds: Origin::parse("https://second.pds.example").unwrap(),
        scope: scope("atproto transition:generic"),
        next_refresh_at: NOW + 2 * HOUR,
        partial: None,
        asked_at: later(),
    }
}

fn later() -> Timestamp {
    NOW + MINUTE
}
