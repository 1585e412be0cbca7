//! Upstream sessions: stored, found, ended, revoked at their PDS.

use std::collections::BTreeSet;
use std::sync::Arc;

use aip_storage::StorageError;
use aip_storage::upstream::{EndReason, Lease, ReauthReason, TakeLease, UpstreamState};

use crate::world::{HOUR, MINUTE, NOW, World, alice, at_once, bob, new_id, new_session};

super::on_both_engines!(
    a_session_comes_back_as_it_was_stored_in_every_state,
    a_leased_session_without_an_end_is_not_read,
    the_newest_usable_session_serves_another_grant,
    due_sessions_come_oldest_first_and_not_while_they_are_leased,
    an_ended_session_is_due_for_revocation_at_once,
    a_session_that_a_grant_uses_is_not_ended,
    a_revocation_is_claimed_by_one_caller_and_comes_due_again,
    what_the_pds_knows_is_forgotten,
    sign_ins_that_were_never_finished_are_ended,
);

async fn a_session_comes_back_as_it_was_stored_in_every_state(world: World) {
    let lease = Lease {
        owner: "replica".to_owned(),
        fence: 7,
        until: NOW,
    };
    let states = [
        UpstreamState::Active,
        UpstreamState::Refreshing(lease),
        UpstreamState::Uncertain,
    ]
    .into_iter()
    .chain(ReauthReason::ALL.map(UpstreamState::NeedsReauth))
    .chain(EndReason::ALL.map(UpstreamState::Ended));
    for state in states {
        let mut session = new_session(&"app".parse().unwrap(), &alice());
        session.state = state;
        session.client_key_id = None;
        session.tokens.refresh = None;
        session.failures = 3;
        world
            .storage
            .create_upstream_session(&session)
            .await
            .unwrap();

        let stored = world
            .storage
            .upstream_session(session.id)
            .await
            .unwrap()
            .unwrap();

        assert_eq!(format!("{stored:?}"), format!("{session:?}"));
        assert_eq!(stored.dpop_key.as_str(), session.dpop_key.as_str());
    }
    assert!(
        world
            .storage
            .upstream_session(new_id())
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_leased_session_without_an_end_is_not_read(world: World) {
    let session = world.session(&"app".parse().unwrap(), &alice()).await;
    for impossible in [
        "lease_owner = 'replica'",
        "lease_owner = NULL, state = 'asleep'",
        "state = 'ended'",
    ] {
        world
            .raw(format!("UPDATE upstream_sessions SET {impossible}"))
            .await;
        let error = world
            .storage
            .upstream_session(session.id)
            .await
            .unwrap_err();
        let StorageError::Inconsistent { table, row, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!((table, row), ("upstream_sessions", session.id.to_string()));
    }
}

async fn the_newest_usable_session_serves_another_grant(world: World) {
    let client = "app".parse().unwrap();
    let find = async || {
        let found = world
            .storage
            .usable_upstream_session(&client, &alice())
            .await
            .unwrap();
        found.map(|it| it.id)
    };
    let mut sessions = Vec::new();
    for age in [2, 1] {
        let mut session = new_session(&client, &alice());
        session.created_at = NOW - age * MINUTE;
        world
            .storage
            .create_upstream_session(&session)
            .await
            .unwrap();
        sessions.push(session.id);
    }
    let of_bob = world.session(&client, &bob()).await.id;
    let of_other = world.session(&"other".parse().unwrap(), &alice()).await.id;

    assert_eq!(find().await, Some(sessions[1]));
    world
        .storage
        .end_unused_session(sessions[1], EndReason::Abandoned, NOW)
        .await
        .unwrap();
    assert_eq!(find().await, Some(sessions[0]));
    world
        .storage
        .end_unused_session(sessions[0], EndReason::Abandoned, NOW)
        .await
        .unwrap();
    assert_eq!(find().await, None, "not {of_bob} or {of_other}");
}

async fn due_sessions_come_oldest_first_and_not_while_they_are_leased(world: World) {
    let client = "app".parse().unwrap();
    let mut ids = Vec::new();
    for due in [3, 1, 2, 60] {
        let mut session = new_session(&client, &alice());
        session.next_refresh_at = NOW + due * MINUTE;
        world
            .storage
            .create_upstream_session(&session)
            .await
            .unwrap();
        ids.push(session.id);
    }
    let now = NOW + 3 * MINUTE;

    assert_eq!(
        world.storage.due_sessions(now, 10).await.unwrap(),
        [ids[1], ids[2], ids[0]]
    );
    assert_eq!(
        world.storage.due_sessions(now, 2).await.unwrap(),
        [ids[1], ids[2]]
    );
    let leased = world
        .storage
        .lease(ids[1], 1, "replica", HOUR, now)
        .await
        .unwrap();
    assert!(matches!(leased, TakeLease::Leased(_)));
    assert_eq!(
        world.storage.due_sessions(now, 10).await.unwrap(),
        [ids[2], ids[0]]
    );
}

async fn an_ended_session_is_due_for_revocation_at_once(world: World) {
    let session = world.session(&"app".parse().unwrap(), &alice()).await;
    let end = NOW + MINUTE;
    assert!(
        world
            .storage
            .claim_revocations(end, end + HOUR, 10)
            .await
            .unwrap()
            .is_empty()
    );

    world
        .storage
        .end_unused_session(session.id, EndReason::GrantRevoked, end)
        .await
        .unwrap();
    // The first end counts.
    world
        .storage
        .end_unused_session(session.id, EndReason::Abandoned, end)
        .await
        .unwrap();

    let due = world
        .storage
        .claim_revocations(end, end + HOUR, 10)
        .await
        .unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].attempts, 0);
    assert_eq!(
        due[0].session.state,
        UpstreamState::Ended(EndReason::GrantRevoked)
    );
    assert_eq!(
        due[0].session.tokens.access.as_str(),
        session.tokens.access.as_str()
    );
}

async fn a_session_that_a_grant_uses_is_not_ended(world: World) {
    let client = world.client("app").await;
    let (grant, _) = world.redeemed(&client, &alice()).await;
    let end = async || {
        world
            .storage
            .end_unused_session(grant.upstream_session, EndReason::Abandoned, NOW)
            .await
            .unwrap()
    };
    assert!(!end().await);
    let stored = world.storage.upstream_session(grant.upstream_session).await;
    assert_eq!(stored.unwrap().unwrap().state, UpstreamState::Active);
}

async fn a_revocation_is_claimed_by_one_caller_and_comes_due_again(world: World) {
    let mut ended = BTreeSet::new();
    for _ in 0..10 {
        let session = world.session(&"app".parse().unwrap(), &alice()).await;
        world
            .storage
            .end_unused_session(session.id, EndReason::Abandoned, NOW)
            .await
            .unwrap();
        ended.insert(session.id);
    }

    let claims = at_once(4, |_| {
        let storage = Arc::clone(&world.storage);
        async move {
            let mut claimed = Vec::new();
            loop {
                let due = storage.claim_revocations(NOW, NOW + HOUR, 3).await.unwrap();
                if due.is_empty() {
                    return claimed;
                }
                claimed.extend(due.into_iter().map(|it| it.session.id));
            }
        }
    })
    .await;

    let mut claimed: Vec<_> = claims.into_iter().flatten().collect();
    claimed.sort_unstable();
    assert_eq!(claimed, ended.into_iter().collect::<Vec<_>>());
    let again = world
        .storage
        .claim_revocations(NOW + HOUR, NOW + 2 * HOUR, 10)
        .await
        .unwrap();
    assert_eq!(
        again.iter().map(|it| it.attempts).collect::<Vec<_>>(),
        [1; 10]
    );
}

async fn what_the_pds_knows_is_forgotten(world: World) {
    let session = world.session(&"app".parse().unwrap(), &alice()).await;
    world
        .storage
        .end_unused_session(session.id, EndReason::Abandoned, NOW)
        .await
        .unwrap();

    world.storage.revocation_done(session.id).await.unwrap();

    assert!(
        world
            .storage
            .claim_revocations(NOW, NOW + HOUR, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let left = world
        .storage
        .upstream_session(session.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(left.tokens.access.as_str(), "");
    assert!(left.tokens.refresh.is_none());
    assert_eq!(left.dpop_key.as_str(), "");
}

async fn sign_ins_that_were_never_finished_are_ended(world: World) {
    let client = world.client("app").await;
    let used = world
        .approved(&client, &alice())
        .await
        .grant
        .upstream_session;
    let fresh = {
        let mut session = new_session(&client, &alice());
        session.created_at = NOW + MINUTE;
        world
            .storage
            .create_upstream_session(&session)
            .await
            .unwrap();
        session.id
    };
    let mut abandoned = Vec::new();
    for _ in 0..3 {
        abandoned.push(world.session(&client, &bob()).await.id);
    }
    let now = NOW + HOUR;

    let end = async || {
        world
            .storage
            .end_abandoned_sessions(NOW + MINUTE, now)
            .await
            .unwrap()
    };

    assert_eq!(end().await, 3);
    assert_eq!(end().await, 0);
    for (id, expected) in [used, fresh]
        .map(|id| (id, UpstreamState::Active))
        .into_iter()
        .chain(
            abandoned
                .into_iter()
                .map(|id| (id, UpstreamState::Ended(EndReason::Abandoned))),
        )
    {
        let state = world
            .storage
            .upstream_session(id)
            .await
            .unwrap()
            .unwrap()
            .state;
        assert_eq!(state, expected);
    }
}
