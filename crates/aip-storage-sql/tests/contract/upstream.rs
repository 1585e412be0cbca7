//! Upstream sessions: stored, found, ended, revoked at their PDS.

use std::collections::BTreeSet;
use std::sync::Arc;

use aip_atproto::Did;
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::client::ClientId;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::{
    Credential, Email, EmailReading, EndReason, Lease, ReauthReason, SessionFilter, SessionKind,
    StateName, UpstreamSession, UpstreamState,
};
use strum::IntoEnumIterator as _;

use crate::world::{
    HOUR, MINUTE, NOW, World, alice, at_once, bob, credential, new_event, new_id, new_session,
    origin, scope, sealed,
};

super::on_both_engines!(
    a_session_comes_back_as_it_was_stored_in_every_state,
    a_leased_session_without_an_end_is_not_read,
    the_newest_usable_session_serves_another_grant,
    the_newest_session_that_covers_what_is_needed_is_found,
    an_email_address_is_kept_with_its_session_alone,
    an_ended_session_is_due_for_revocation_at_once,
    a_session_that_a_grant_uses_is_not_ended,
    a_revocation_is_claimed_by_one_caller_and_comes_due_again,
    what_the_pds_knows_is_forgotten,
    sign_ins_that_were_never_finished_are_ended,
    an_app_has_one_app_password_for_each_account,
    an_app_password_stays_as_long_as_somebody_may_come_back_for_it,
    an_operator_ends_a_session_and_its_grants,
    sessions_are_listed_by_page_and_counted,
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
    .chain(ReauthReason::iter().map(UpstreamState::NeedsReauth))
    .chain(EndReason::iter().map(UpstreamState::Ended));
    for state in states {
        let mut session = new_session(&"app".parse().unwrap(), &alice());
        session.state = state;
        session.credential = credential(None, "dpop key");
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
        assert_eq!(dpop_key(&stored), "dpop key");
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
            .usable_upstream_session(SessionKind::OAuth, &client, &alice())
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

async fn the_newest_session_that_covers_what_is_needed_is_found(world: World) {
    let client = "app".parse().unwrap();
    let mut sessions = Vec::new();
    for (age, scopes) in [
        (4, "atproto transition:generic"),
        (3, "atproto repo:app.bsky.feed.post account:email"),
        (2, "atproto repo:app.bsky.feed.post"),
        (1, "atproto"),
    ] {
        let mut session = new_session(&client, &alice());
        session.created_at = NOW - age * MINUTE;
        session.scope = scope(scopes);
        let stored = world.storage.create_upstream_session(&session);
        stored.await.unwrap();
        sessions.push(session.id);
    }
    for (needed, found) in [
        ("atproto", Some(3)),
        ("atproto repo:app.bsky.feed.post", Some(2)),
        ("atproto repo:app.bsky.feed.post account:email", Some(1)),
        ("atproto repo:app.bsky.feed.like", Some(0)),
        ("atproto transition:chat.bsky", None),
    ] {
        let fits = world
            .storage
            .fitting_upstream_session(&client, &alice(), &scope(needed))
            .await
            .unwrap();
        let expected: Option<usize> = found;
        assert_eq!(
            fits.map(|it| it.id),
            expected.map(|it| sessions[it]),
            "{needed}"
        );
    }
    let reason = EndReason::Abandoned;
    for id in &sessions[1..] {
        world
            .storage
            .end_unused_session(*id, reason, NOW)
            .await
            .unwrap();
    }
    let fits = world
        .storage
        .fitting_upstream_session(&client, &alice(), &scope("atproto account:email"))
        .await;
    assert!(
        fits.unwrap().is_none(),
        "sessions that are over serve nobody"
    );
}

async fn an_email_address_is_kept_with_its_session_alone(world: World) {
    let client = "app".parse().unwrap();
    let (one, other) = (
        world.session(&client, &alice()).await.id,
        world.session(&client, &alice()).await.id,
    );
    let reading = |address: Option<&str>, read_at| EmailReading {
        email: address.map(|address| Email {
            address: address.to_owned(),
            confirmed: true,
        }),
        pds: origin("https://pds.example"),
        read_at,
    };
    let stored = async |id| {
        let session = world.storage.upstream_session(id).await.unwrap();
        session.unwrap().email
    };
    let first = reading(Some("alice@example.com"), NOW);
    world.storage.store_email(one, &first).await.unwrap();
    assert_eq!(stored(one).await, Some(first.clone()));
    assert_eq!(stored(other).await, None);

    // What was asked earlier does not replace what was asked later.
    let late = reading(Some("old@example.com"), NOW - MINUTE);
    world.storage.store_email(one, &late).await.unwrap();
    assert_eq!(stored(one).await, Some(first));
    let none = reading(None, NOW + MINUTE);
    world.storage.store_email(one, &none).await.unwrap();
    assert_eq!(stored(one).await, Some(none));
    world.storage.forget_email(one).await.unwrap();
    assert_eq!(stored(one).await, None);
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
    assert_eq!(dpop_key(&left), "");
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

async fn an_app_has_one_app_password_for_each_account(world: World) {
    let client = world.client("app").await;
    world.approved(&client, &alice()).await;
    let first = password_session(&client, &alice());
    let second = password_session(&client, &alice());
    let of_bob = password_session(&client, &bob());
    for session in [&first, &of_bob, &second] {
        let replaced = world.storage.replace_app_password_session(session).await;
        replaced.unwrap();
    }
    let usable = async |did| {
        let kind = SessionKind::AppPassword;
        let found = world.storage.usable_upstream_session(kind, &client, &did);
        found.await.unwrap().map(|it| it.id)
    };
    assert_eq!(usable(alice()).await, Some(second.id));
    assert_eq!(usable(bob()).await, Some(of_bob.id));
    let stored = async |id| world.storage.upstream_session(id).await.unwrap().unwrap();
    let ended = UpstreamState::Ended(EndReason::Replaced);
    assert_eq!(stored(first.id).await.state, ended);
    let kept = stored(second.id).await;
    assert_eq!(format!("{kept:?}"), format!("{second:?}"));

    // What its PDS has heard of is forgotten, the password too.
    world.storage.revocation_done(first.id).await.unwrap();
    let Credential::AppPassword(password) = stored(first.id).await.credential else {
        panic!("it is one of an app password");
    };
    assert_eq!(password.as_str(), "");
}

async fn an_app_password_stays_as_long_as_somebody_may_come_back_for_it(world: World) {
    let alice = alice();
    for (reason, kept) in [
        (None, true),
        (Some(RevokeReason::UpstreamEnded), true),
        (Some(RevokeReason::ByPerson), false),
    ] {
        let client = world
            .client(reason.map_or("live", RevokeReason::as_str))
            .await;
        let approval = world.approved(&client, &alice).await;
        let session = password_session(&client, &alice);
        let replaced = world.storage.replace_app_password_session(&session).await;
        replaced.unwrap();
        match reason {
            None => {}
            Some(RevokeReason::UpstreamEnded) => {
                let id = approval.grant.upstream_session;
                world.storage.reject_tokens(id, 1, NOW).await.unwrap();
            }
            Some(reason) => {
                let revoked = world.storage.revoke_client_grants(
                    &client,
                    &alice,
                    reason,
                    NOW,
                    new_event(AuditKind::GrantRevoked, &alice),
                );
                assert_eq!(revoked.await.unwrap(), 1);
            }
        }
        let later = NOW + 2 * HOUR;
        let ended = world.storage.end_abandoned_sessions(later, later).await;
        ended.unwrap();
        let kind = SessionKind::AppPassword;
        let found = world.storage.usable_upstream_session(kind, &client, &alice);
        assert_eq!(found.await.unwrap().is_some(), kept, "{reason:?}");
    }
}

async fn an_operator_ends_a_session_and_its_grants(world: World) {
    let client = world.client("app").await;
    let (grant, _) = world.redeemed(&client, &alice()).await;
    let end = async || {
        let (id, reason) = (grant.upstream_session, EndReason::ByOperator);
        let ended = world.storage.end_upstream_session(id, reason, NOW);
        ended.await.unwrap()
    };
    assert!(end().await);
    assert!(!end().await);
    assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
    let due = world.storage.claim_revocations(NOW, NOW + HOUR, 10).await;
    assert_eq!(due.unwrap().len(), 1);
}

async fn sessions_are_listed_by_page_and_counted(world: World) {
    let (app, other) = ("app".parse().unwrap(), "other".parse().unwrap());
    let mut ids = Vec::new();
    for (client, did) in [(&app, alice()), (&app, bob()), (&other, alice())] {
        ids.push(world.session(client, &did).await.id);
    }
    ids.sort();
    let reason = EndReason::Abandoned;
    let ended = world
        .storage
        .end_upstream_session(ids[2], reason, NOW)
        .await;
    assert!(ended.unwrap());
    let list = async |filter: SessionFilter, after, limit| {
        let listed = world.storage.list_upstream_sessions(&filter, after, limit);
        let listed = listed.await.unwrap().into_iter();
        listed.map(|it| it.unwrap().id).collect::<Vec<_>>()
    };
    let all = SessionFilter::default;
    assert_eq!(list(all(), None, 2).await, ids[..2]);
    assert_eq!(list(all(), Some(ids[1]), 2).await, ids[2..]);
    let over = SessionFilter {
        state: Some(StateName::Ended),
        ..all()
    };
    assert_eq!(list(over, None, 9).await, ids[2..]);
    let of_bob = SessionFilter {
        did: Some(bob()),
        client_id: Some(app),
        ..all()
    };
    assert_eq!(list(of_bob, None, 9).await.len(), 1);

    let counted = world.storage.count_upstream_sessions(NOW + 2 * HOUR).await;
    let counted = counted.unwrap();
    assert_eq!(
        counted.counts,
        [
            (SessionKind::OAuth, StateName::Active, 2),
            (SessionKind::OAuth, StateName::Ended, 1),
        ]
    );
    assert_eq!(counted.oldest_due, Some(NOW + HOUR));
}

fn password_session(client: &ClientId, did: &Did) -> UpstreamSession {
    UpstreamSession {
        credential: Credential::AppPassword(sealed("password")),
        ..new_session(client, did)
    }
}

fn dpop_key(session: &UpstreamSession) -> &str {
    match &session.credential {
        Credential::OAuth(oauth) => oauth.dpop_key.as_str(),
        Credential::AppPassword(_) => panic!("no session of OAuth"),
    }
}
