//! Paused accounts, and the places in streams of events.

use std::time::Duration;

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::grant::RevokeReason;
use aip_storage::refresh::{Claim, ClaimDue, FailedRefresh, RefreshFailure, Settle};
use aip_storage::upstream::{Credential, UpstreamSession};

use crate::world::{
    DAY, HOUR, MINUTE, NOW, SECOND, World, alice, bob, measure, new_session, sealed,
};

super::on_both_engines!(
    accounts_are_known_while_a_grant_or_a_delegation_of_theirs_lives,
    a_due_session_is_claimed_with_the_word_that_its_account_is_paused,
    an_account_that_is_in_use_again_is_due_where_it_was_put_off,
    paused_accounts_are_told_page_by_page,
    the_place_in_a_stream_is_kept_for_each_stream,
);

fn stranger(number: usize) -> Did {
    Did::parse(&format!("did:web:stranger{number}.example")).unwrap()
}

async fn accounts_are_known_while_a_grant_or_a_delegation_of_theirs_lives(world: World) {
    let storage = &world.storage;
    let client = world.client("app").await;
    let (grant, _) = world.redeemed(&client, &alice()).await;
    let mut asked: Vec<Did> = (0..40).map(stranger).collect();
    assert_eq!(storage.accounts_known(&[]).await.unwrap(), []);
    assert_eq!(storage.accounts_known(&asked).await.unwrap(), []);
    asked.insert(20, alice());
    asked.push(bob());
    assert_eq!(storage.accounts_known(&asked).await.unwrap(), [alice()]);
    let (known, cost) = measure(storage.accounts_known(&[alice(), bob()])).await;
    assert_eq!((known.unwrap(), cost.statements), (vec![alice()], 1));

    let (delegation, session) = crate::delegations::new_delegation(&bob(), &alice());
    let given = storage.give_delegation(&delegation, &session, &[]).await;
    given.unwrap();
    let mut known = storage.accounts_known(&asked).await.unwrap();
    known.sort();
    let mut both = vec![alice(), bob()];
    both.sort();
    assert_eq!(known, both);

    let revoked = storage.revoke_grant(grant.id, RevokeReason::ByPerson, NOW);
    revoked.await.unwrap();
    assert_eq!(storage.accounts_known(&asked).await.unwrap(), [bob()]);

    // The end of a pause is heard of, whoever is left.
    let alice = alice();
    let paused = storage.pause_account(&alice, "deactivated", NOW);
    paused.await.unwrap();
    let mut known = storage.accounts_known(&asked).await.unwrap();
    known.sort();
    assert_eq!(known, both);
}

/// Claims what is due at `now`.
async fn claimed(world: &World, now: Timestamp) -> Vec<(UpstreamSession, Claim)> {
    let due = ClaimDue {
        owner: "replica",
        length: Duration::from_mins(1),
        now,
        limit: 10,
        except: &[],
    };
    let claimed = world.storage.claim_due(due).await.unwrap();
    claimed.into_iter().map(Result::unwrap).collect()
}

async fn defer(world: &World, (session, claim): &(UpstreamSession, Claim), until: Timestamp) {
    let failed = FailedRefresh {
        id: session.id,
        generation: session.generation,
        fence: claim.lease.fence,
        failure: &RefreshFailure::Deferred(until),
        error: "",
        now: NOW,
    };
    let settled = world.storage.settle_failure(failed).await.unwrap();
    assert_eq!(settled, Settle::Stored);
}

/// The sessions that are due at `now`.
async fn due(world: &World, now: Timestamp) -> Vec<RowId> {
    let claimed = claimed(world, now).await;
    claimed.iter().map(|(session, _)| session.id).collect()
}

async fn a_due_session_is_claimed_with_the_word_that_its_account_is_paused(world: World) {
    let client = world.client("app").await;
    let (grant, _) = world.redeemed(&client, &alice()).await;
    let id = grant.upstream_session;
    let late = NOW + 30 * DAY;
    for (status, expected) in [
        (None, false),
        (Some("deactivated"), true),
        (Some("takendown"), true),
    ] {
        if let Some(status) = status {
            world
                .storage
                .pause_account(&alice(), status, NOW)
                .await
                .unwrap();
        }
        let claimed = claimed(&world, late).await;
        let found: Vec<_> = claimed.iter().map(|it| (it.0.id, it.1.paused)).collect();
        assert_eq!(found, [(id, expected)], "{status:?}");
        defer(&world, &claimed[0], NOW + DAY).await;
    }
    let statuses = world.strings("SELECT status FROM paused_accounts").await;
    assert_eq!(statuses, ["takendown"]);
    // Nobody else is.
    world.redeemed(&client, &bob()).await;
    let claimed = claimed(&world, late).await;
    let of_bob = claimed.iter().filter(|it| it.0.id != id);
    assert_eq!(of_bob.map(|it| it.1.paused).collect::<Vec<_>>(), [false]);
}

async fn an_account_that_is_in_use_again_is_due_where_it_was_put_off(world: World) {
    let client = world.client("app").await;
    let storage = &world.storage;
    let (grant, _) = world.redeemed(&client, &alice()).await;
    let (old, now) = (grant.upstream_session, NOW + 8 * DAY);
    // Another app of the same account, which was used yesterday.
    let other = world.client("other").await;
    let (grant, _) = world.redeemed(&other, &alice()).await;
    let young = grant.upstream_session;
    // The app password that serves the first app is in no grant.
    let password = UpstreamSession {
        credential: Credential::AppPassword(sealed("password")),
        ..new_session(&client, &alice())
    };
    let stored = storage.create_upstream_session(&password);
    stored.await.unwrap();
    let yesterday = (now - DAY).as_micros();
    let statement = "UPDATE upstream_sessions SET refreshed_at";
    world
        .raw(format!("{statement} = {yesterday} WHERE id = '{young}'"))
        .await;
    for claimed in claimed(&world, now + 100 * DAY).await {
        defer(&world, &claimed, NOW + 13 * DAY).await;
    }
    let overdue = now - 7 * DAY;
    let alice = alice();
    let resume = async || storage.resume_account(&alice, overdue, now).await.unwrap();
    // An account that was not paused keeps its times.
    assert!(!resume().await);
    assert_eq!(due(&world, now).await, []);

    let pause = async || storage.pause_account(&alice, "deactivated", NOW).await;
    pause().await.unwrap();
    assert!(resume().await);
    assert!(!resume().await);
    let claimed = claimed(&world, now).await;
    let mut found: Vec<_> = claimed.iter().map(|it| (it.0.id, it.1.paused)).collect();
    found.sort();
    let mut expected = [(old, false), (password.id, false)];
    expected.sort();
    assert_eq!(found, expected);

    // One whose last attempt failed is due, however young its tokens are.
    let statement = "UPDATE upstream_sessions SET failures = 1";
    world.raw(format!("{statement} WHERE id = '{young}'")).await;
    pause().await.unwrap();
    assert!(resume().await);
    assert_eq!(due(&world, now).await, [young]);
}

async fn paused_accounts_are_told_page_by_page(world: World) {
    let storage = &world.storage;
    for number in [3, 1, 2, 1] {
        let stranger = stranger(number);
        let paused = storage.pause_account(&stranger, "deleted", NOW);
        paused.await.unwrap();
    }
    let page = storage.paused_accounts(None, 2).await.unwrap();
    assert_eq!(page, [stranger(1), stranger(2)]);
    let rest = storage.paused_accounts(page.last(), 2).await.unwrap();
    assert_eq!(rest, [stranger(3)]);
    let end = storage.paused_accounts(rest.last(), 2).await.unwrap();
    assert_eq!(end, []);
}

async fn the_place_in_a_stream_is_kept_for_each_stream(world: World) {
    let storage = &world.storage;
    let (one, two) = ("wss://one.example/subscribe", "wss://two.example/subscribe");
    assert_eq!(storage.event_cursor(one).await.unwrap(), None);
    for (cursor, after) in [(5, MINUTE), (i64::MAX, HOUR), (7, HOUR + SECOND)] {
        let kept = storage.keep_event_cursor(one, cursor, NOW + after);
        kept.await.unwrap();
        assert_eq!(storage.event_cursor(one).await.unwrap(), Some(cursor));
        assert_eq!(storage.event_cursor(two).await.unwrap(), None);
    }
}
