//! Delegations: given, found, ended, and the tokens of delegates.

use std::sync::Arc;

use aip_atproto::Did;
use aip_base::RowId;
use aip_storage::account::Account;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientId;
use aip_storage::delegation::{
    DelegatedToken, Delegation, DelegationEnd, DelegationPreset, GiveDelegation,
    MAX_DELEGATIONS_OF_OWNER, MAX_EXCHANGED_TOKENS,
};
use aip_storage::grant::{Grant, RevokeReason};
use aip_storage::refresh::{FailedRefresh, RefreshFailure, Settle, TakeLease};
use aip_storage::resource_uri::ResourceList;
use aip_storage::upstream::{EndReason, ReauthReason, StateName, UpstreamSession, UpstreamState};
use strum::{EnumIter, IntoEnumIterator as _};

use crate::world::{
    DAY, HOUR, MINUTE, NOW, SECOND, World, alice, at_once, bob, measure, new_event as event,
    new_hash, new_id, new_session, origin, scope,
};

super::on_both_engines_and_behind_a_pooler!(
    a_delegation_comes_back_with_its_session_until_it_ends,
    one_that_is_given_anew_takes_the_place_of_the_one_before,
    an_owner_has_so_many_and_no_more,
    a_token_of_a_delegate_ends_with_all_that_it_comes_from,
    of_a_token_and_the_end_of_its_delegation_the_end_wins,
    a_client_is_deleted_while_delegates_exchange_tokens,
    of_fifty_exchanges_at_once_twenty_tokens_live,
    the_oldest_token_of_a_delegate_gives_way_to_a_new_one,
    a_session_of_a_delegation_is_not_abandoned,
    what_delegates_did_is_found_by_the_owner,
);

/// A delegation of an hour with its session, not stored.
pub(crate) fn new_delegation(owner: &Did, delegate: &Did) -> (Delegation, UpstreamSession) {
    let session = new_session(&ClientId::of_delegations(), owner);
    let delegation = Delegation {
        id: new_id(),
        owner: owner.clone(),
        delegate: delegate.clone(),
        preset: DelegationPreset::Posts,
        scope: DelegationPreset::Posts.scope(),
        upstream_session: session.id,
        created_at: NOW,
        ends_at: NOW + HOUR,
    };
    (delegation, session)
}

pub(crate) async fn given(world: &World, owner: &Did, delegate: &Did) -> Delegation {
    let account = Account {
        did: owner.clone(),
        handle: None,
        pds: origin("https://pds.example"),
        proven_at: NOW,
    };
    world.storage.put_account(&account).await.unwrap();
    let (delegation, session) = new_delegation(owner, delegate);
    let outcome = world
        .storage
        .give_delegation(&delegation, &session, &[])
        .await;
    assert_eq!(outcome.unwrap(), GiveDelegation::Given);
    delegation
}

/// A token of `delegation` that comes from the grant of the delegate.
pub(crate) fn token_of(delegation: &Delegation, parent: &Grant) -> DelegatedToken {
    DelegatedToken {
        delegation: delegation.id,
        parent: parent.id,
        grant: Grant {
            id: new_id(),
            subject: delegation.owner.clone(),
            actor: delegation.delegate.clone(),
            scope: scope("atproto repo:app.bsky.feed.post"),
            asked: scope("atproto repo:app.bsky.feed.post"),
            upstream_session: delegation.upstream_session,
            auth_time: None,
            created_at: NOW + SECOND,
            ..parent.clone()
        },
        access: new_hash(),
        scope: scope("atproto openid"),
        audience: ResourceList::default(),
        dpop_jkt: Some("key".to_owned()),
        expires_at: NOW + HOUR,
        event: event(AuditKind::DelegatedToken, &delegation.owner),
    }
}

async fn is_live(world: &World, token: &DelegatedToken) -> bool {
    let found = world.storage.access_token(&token.access, NOW + MINUTE);
    found.await.unwrap().is_some()
}

async fn a_delegation_comes_back_with_its_session_until_it_ends(world: World) {
    for (n, preset) in (0..).zip(DelegationPreset::iter()) {
        let owner: Did = format!("did:web:owner-{n}.example").parse().unwrap();
        let (mut delegation, session) = new_delegation(&owner, &bob());
        (delegation.preset, delegation.scope) = (preset, preset.scope());
        let give = world.storage.give_delegation(&delegation, &session, &[]);
        assert_eq!(give.await.unwrap(), GiveDelegation::Given);
        let at = async |owner: &Did, delegate: &Did, now| {
            let found = world.storage.delegation_for_call(owner, delegate, now);
            found.await.unwrap()
        };
        let (found, used) = measure(at(&owner, &bob(), NOW)).await;
        assert_eq!(used.statements, 1);
        let found = found.unwrap();
        assert_eq!(format!("{:?}", found.delegation), format!("{delegation:?}"));
        assert_eq!(format!("{:?}", found.session), format!("{session:?}"));
        assert!(at(&owner, &alice(), NOW).await.is_none(), "another one");
        assert!(at(&bob(), &owner, NOW).await.is_none(), "the other way");
        assert!(at(&owner, &bob(), NOW + HOUR).await.is_none(), "its time");
        let listed = world.storage.delegations_of(&owner, NOW).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].session, Some(StateName::Active));
        let later = world.storage.delegations_of(&owner, NOW + HOUR).await;
        assert!(later.unwrap().is_empty());

        let end = async |owner: &Did| {
            let reason = DelegationEnd::TakenBack;
            let ended = world.storage.end_delegation(
                owner,
                delegation.id,
                reason,
                NOW,
                event(AuditKind::DelegationEnded, &alice()),
            );
            ended.await.unwrap()
        };
        assert!(!end(&bob()).await, "by somebody else");
        assert!(at(&owner, &bob(), NOW).await.is_some());
        assert!(end(&owner).await);
        assert!(!end(&owner).await, "once");
        assert!(at(&owner, &bob(), NOW).await.is_none());
        let session = world.storage.upstream_session(session.id).await.unwrap();
        let ended = UpstreamState::Ended(EndReason::DelegationEnded);
        assert_eq!(session.unwrap().state, ended);
    }
    let due = world.storage.claim_revocations(NOW, NOW + HOUR, 10).await;
    assert_eq!(due.unwrap().len(), 4, "their PDSs are told");
}

async fn one_that_is_given_anew_takes_the_place_of_the_one_before(world: World) {
    let first = given(&world, &alice(), &bob()).await;
    let world = Arc::new(world);
    let outcomes = at_once(8, |_| {
        let world = Arc::clone(&world);
        async move {
            let (delegation, session) = new_delegation(&alice(), &bob());
            let outcome = world
                .storage
                .give_delegation(&delegation, &session, &[])
                .await;
            outcome.unwrap()
        }
    });
    assert!(outcomes.await.iter().all(|it| *it == GiveDelegation::Given));
    let live = world.storage.delegations_of(&alice(), NOW).await.unwrap();
    assert_eq!(live.len(), 1);
    assert_ne!(live[0].delegation.id, first.id);
    let sessions = "SELECT id FROM upstream_sessions WHERE state = 'active'";
    let sessions = world.strings(sessions).await;
    let used = live[0].delegation.upstream_session.to_string();
    assert_eq!(sessions, [used]);
    let reasons = "SELECT DISTINCT end_reason FROM delegations WHERE ended_at IS NOT NULL";
    assert_eq!(world.strings(reasons).await, ["replaced"]);
}

async fn an_owner_has_so_many_and_no_more(world: World) {
    let delegate = |n: u32| -> Did { format!("did:web:d-{n}.example").parse().unwrap() };
    for n in 0..MAX_DELEGATIONS_OF_OWNER {
        given(&world, &alice(), &delegate(n)).await;
    }
    let give = async |owner: &Did, delegate: &Did| {
        let (delegation, session) = new_delegation(owner, delegate);
        let kinds = [AuditKind::SignedIn, AuditKind::DelegationGiven];
        let events = kinds.map(|kind| event(kind, owner));
        let give = world
            .storage
            .give_delegation(&delegation, &session, &events);
        (give.await.unwrap(), session.id)
    };
    let told = async || world.storage.audit_events(10).await.unwrap().len();
    let (outcome, session) = give(&alice(), &bob()).await;
    assert_eq!(outcome, GiveDelegation::Full);
    let stored = world.storage.upstream_session(session).await.unwrap();
    assert!(stored.is_none(), "nothing is kept of it");
    assert_eq!(told().await, 0, "nor told");
    // One in place of another, and one of somebody else.
    assert_eq!(give(&alice(), &delegate(3)).await.0, GiveDelegation::Given);
    assert_eq!(give(&bob(), &alice()).await.0, GiveDelegation::Given);
    assert_eq!(told().await, 4);
    let live = world.storage.delegations_of(&alice(), NOW).await.unwrap();
    assert_eq!(live.len(), MAX_DELEGATIONS_OF_OWNER as usize);

    // Their time is over: each is ended once, in batches.
    let mut ended = Vec::new();
    for _ in 0..3 {
        let end = world.storage.end_expired_delegations(NOW + HOUR, 12).await;
        ended.push(end.unwrap());
    }
    assert_eq!(ended, [12, 9, 0]);
    let live = "SELECT id FROM upstream_sessions WHERE state = 'active'";
    assert!(world.strings(live).await.is_empty());
}

/// What a token of a delegate ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter)]
enum End {
    Delegation,
    DelegatesGrant,
    DelegatesApp,
    DelegatesSession,
    OwnersSession,
}

impl End {
    async fn end(self, world: &World, delegation: &Delegation, parent: &Grant) {
        let (storage, now) = (&world.storage, NOW + SECOND);
        match self {
            Self::Delegation => {
                let reason = DelegationEnd::TakenBack;
                let (owner, id) = (&delegation.owner, delegation.id);
                let ended = storage.end_delegation(
                    owner,
                    id,
                    reason,
                    now,
                    event(AuditKind::DelegationEnded, &alice()),
                );
                assert!(ended.await.unwrap());
            }
            Self::DelegatesGrant => {
                let reason = RevokeReason::ByClient;
                storage.revoke_grant(parent.id, reason, now).await.unwrap();
            }
            Self::DelegatesApp => {
                let (client, delegate) = (&parent.client_id, &delegation.delegate);
                let reason = RevokeReason::ByPerson;
                let ended = storage.revoke_client_grants(
                    client,
                    delegate,
                    reason,
                    now,
                    event(AuditKind::GrantRevoked, &alice()),
                );
                assert!(ended.await.unwrap() > 0);
            }
            Self::DelegatesSession => {
                let (id, reason) = (parent.upstream_session, EndReason::ByOperator);
                let ended = storage.end_upstream_session(id, reason, now);
                assert!(ended.await.unwrap());
            }
            Self::OwnersSession => {
                let id = delegation.upstream_session;
                let leased = storage.lease(id, 1, "one", MINUTE, NOW).await.unwrap();
                let TakeLease::Leased(claim) = leased else {
                    panic!("{leased:?}");
                };
                let failed = FailedRefresh {
                    id,
                    generation: 1,
                    fence: claim.lease.fence,
                    failure: &RefreshFailure::NeedsReauth(ReauthReason::Refused),
                    error: "refused",
                    now,
                };
                let settled = storage.settle_failure(failed).await.unwrap();
                assert_eq!(settled, Settle::Stored);
            }
        }
    }
}

async fn a_token_of_a_delegate_ends_with_all_that_it_comes_from(world: World) {
    let client = world.client("app").await;
    for what in End::iter() {
        let delegation = given(&world, &alice(), &bob()).await;
        let (parent, _) = world.redeemed(&client, &bob()).await;
        let (one, two) = (
            token_of(&delegation, &parent),
            token_of(&delegation, &parent),
        );
        assert!(world.storage.put_delegated_token(&one).await.unwrap());
        assert!(world.storage.put_delegated_token(&two).await.unwrap());
        let found = world.storage.access_token(&one.access, NOW + MINUTE).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.grant.subject, alice());
        assert_eq!(found.grant.delegate(), Some(&bob()));
        assert_eq!(found.grant.upstream_session, delegation.upstream_session);
        assert_eq!(
            (found.scope, found.dpop_jkt),
            (one.scope.clone(), one.dpop_jkt.clone())
        );
        let grants = format!(
            "SELECT id FROM grants WHERE parent_grant = '{}' AND revoked_at IS NULL",
            parent.id
        );
        assert_eq!(
            world.strings(&grants).await,
            [one.grant.id.to_string()],
            "one for both"
        );
        let told = async |token: &DelegatedToken| {
            let id = token.event.id;
            let event = format!("SELECT kind FROM audit_events WHERE id = '{id}'");
            world.strings(event).await
        };
        assert_eq!(told(&one).await, [AuditKind::DelegatedToken.as_str()]);
        assert!(told(&two).await.is_empty(), "told once for both");
        // The owner gave no app anything, and has nothing to take back from one.
        assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
        let reason = RevokeReason::ByPerson;
        let revoke = world.storage.revoke_client_grants(
            &client,
            &delegation.owner,
            reason,
            NOW,
            event(AuditKind::GrantRevoked, &alice()),
        );
        assert_eq!(revoke.await.unwrap(), 0);
        assert!(is_live(&world, &one).await && is_live(&world, &two).await);

        what.end(&world, &delegation, &parent).await;
        let live = [is_live(&world, &one).await, is_live(&world, &two).await];
        assert_eq!(live, [false, false], "{what:?}");
        if what == End::OwnersSession {
            let (owner, delegate) = (&delegation.owner, &delegation.delegate);
            let found = world.storage.delegation_for_call(owner, delegate, NOW);
            assert!(found.await.unwrap().is_none(), "it serves nobody");
            continue;
        }
        let late = token_of(&delegation, &parent);
        let stored = world.storage.put_delegated_token(&late).await.unwrap();
        assert!(!stored, "{what:?}");
        assert!(!is_live(&world, &late).await);
    }
}

async fn of_a_token_and_the_end_of_its_delegation_the_end_wins(world: World) {
    let client = world.client("app").await;
    let world = Arc::new(world);
    for round in 0..6 {
        let delegation = given(&world, &alice(), &bob()).await;
        let (parent, _) = world.redeemed(&client, &bob()).await;
        let by_parent = round % 2 == 0;
        let tokens: Vec<_> = (0..8).map(|_| token_of(&delegation, &parent)).collect();
        let sent = Arc::new((delegation, parent, tokens));
        let stored = at_once(9, |n| {
            let (world, sent) = (Arc::clone(&world), Arc::clone(&sent));
            async move {
                let (delegation, parent, tokens) = &*sent;
                let storage = &world.storage;
                if n == 4 && by_parent {
                    let reason = RevokeReason::ByPerson;
                    storage.revoke_grant(parent.id, reason, NOW).await.unwrap();
                } else if n == 4 {
                    let reason = DelegationEnd::TakenBack;
                    let (owner, id) = (&delegation.owner, delegation.id);
                    let end = storage.end_delegation(
                        owner,
                        id,
                        reason,
                        NOW,
                        event(AuditKind::DelegationEnded, &alice()),
                    );
                    assert!(end.await.unwrap());
                } else {
                    let token = &tokens[n.min(7)];
                    if n < 8 {
                        storage.put_delegated_token(token).await.unwrap();
                    }
                }
            }
        });
        stored.await;
        for token in &sent.2 {
            assert!(!is_live(&world, token).await, "round {round}");
        }
    }
}

/// Nobody waits for somebody who waits for them: no outcome is an error.
async fn a_client_is_deleted_while_delegates_exchange_tokens(world: World) {
    let world = Arc::new(world);
    for round in 0..4 {
        let client = world.client(&format!("app-{round}")).await;
        let delegation = given(&world, &alice(), &bob()).await;
        let mut tokens = Vec::new();
        for _ in 0..8 {
            let (parent, _) = world.redeemed(&client, &bob()).await;
            tokens.push(token_of(&delegation, &parent));
        }
        let sent = Arc::new((client, tokens));
        let outcomes = at_once(9, |n| {
            let (world, sent) = (Arc::clone(&world), Arc::clone(&sent));
            async move {
                let (client, tokens) = &*sent;
                match tokens.get(n) {
                    Some(token) => world.storage.put_delegated_token(token).await,
                    None => world.storage.delete_client(client, NOW + SECOND).await,
                }
            }
        });
        for outcome in outcomes.await {
            outcome.unwrap();
        }
        for token in &sent.1 {
            assert!(!is_live(&world, token).await, "round {round}");
        }
    }
}

async fn live(world: &World, tokens: &[DelegatedToken]) -> Vec<usize> {
    let mut live = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        if is_live(world, token).await {
            live.push(n);
        }
    }
    live
}

async fn of_fifty_exchanges_at_once_twenty_tokens_live(world: World) {
    let client = world.client("app").await;
    let delegation = given(&world, &alice(), &bob()).await;
    // Of several sign-ins of the delegate, so of several grants.
    let mut tokens = Vec::new();
    for _ in 0..5 {
        let (parent, _) = world.redeemed(&client, &bob()).await;
        tokens.extend((0..10).map(|_| token_of(&delegation, &parent)));
    }
    let sent = Arc::new((world, tokens));
    let stored = at_once(50, |n| {
        let sent = Arc::clone(&sent);
        async move {
            let (world, tokens) = &*sent;
            world.storage.put_delegated_token(&tokens[n]).await.unwrap()
        }
    });
    assert!(stored.await.into_iter().all(|stored| stored));
    let (world, tokens) = &*sent;
    assert_eq!(
        live(world, tokens).await.len(),
        MAX_EXCHANGED_TOKENS as usize
    );
}

async fn the_oldest_token_of_a_delegate_gives_way_to_a_new_one(world: World) {
    let most = MAX_EXCHANGED_TOKENS;
    let client = world.client("app").await;
    let delegation = given(&world, &alice(), &bob()).await;
    let (parent, _) = world.redeemed(&client, &bob()).await;
    let put = async |token: &DelegatedToken| {
        assert!(world.storage.put_delegated_token(token).await.unwrap());
    };
    let at = |n: u32, expires_at| {
        let mut token = token_of(&delegation, &parent);
        token.grant.created_at = NOW + n * SECOND;
        token.expires_at = expires_at;
        token
    };
    // What has expired takes nobody's place.
    let over: Vec<_> = (0..most).map(|n| at(n, NOW + 30 * SECOND)).collect();
    for token in &over {
        put(token).await;
    }
    let tokens: Vec<_> = (30..30 + most).map(|n| at(n, NOW + HOUR)).collect();
    for token in &tokens {
        put(token).await;
    }
    assert_eq!(live(&world, &tokens).await.len(), most as usize);

    // Those of another app, another owner and another delegate are counted apart.
    let other_app = world.client("other").await;
    let (of_other_app, _) = world.redeemed(&other_app, &bob()).await;
    let carol: Did = "did:web:carol.example".parse().unwrap();
    let of_carol = given(&world, &carol, &bob()).await;
    let to_carol = given(&world, &alice(), &carol).await;
    let (carols, _) = world.redeemed(&client, &carol).await;
    let others = [
        token_of(&delegation, &of_other_app),
        token_of(&of_carol, &parent),
        token_of(&to_carol, &carols),
    ];
    for token in &others {
        put(token).await;
    }
    assert_eq!(live(&world, &tokens).await.len(), most as usize);

    let late = [at(55, NOW + HOUR), at(56, NOW + HOUR)];
    for token in &late {
        put(token).await;
    }
    let kept: Vec<_> = (2..most as usize).collect();
    assert_eq!(live(&world, &tokens).await, kept, "the two oldest are gone");
    assert_eq!(live(&world, &late).await, [0, 1]);
    assert_eq!(live(&world, &others).await, [0, 1, 2]);
}

async fn a_session_of_a_delegation_is_not_abandoned(world: World) {
    let delegation = given(&world, &alice(), &bob()).await;
    let client = world.client("app").await;
    let lost = world.session(&client, &alice()).await.id;
    let ended = world.storage.end_abandoned_sessions(NOW + DAY, NOW + DAY);
    assert_eq!(ended.await.unwrap(), 1);
    let state = async |id: RowId| {
        let session = world.storage.upstream_session(id).await.unwrap();
        session.unwrap().state
    };
    assert_eq!(
        state(delegation.upstream_session).await,
        UpstreamState::Active
    );
    assert_eq!(
        state(lost).await,
        UpstreamState::Ended(EndReason::Abandoned)
    );
    // Nor does it serve an app of the owner.
    let needed = scope("atproto");
    let fits = world
        .storage
        .fitting_upstream_session(&client, &delegation.owner, &needed);
    assert!(fits.await.unwrap().is_none());
}

async fn what_delegates_did_is_found_by_the_owner(world: World) {
    let event = |n: u32, did: Did, actor: Option<Did>| AuditEvent {
        id: new_id(),
        at: NOW + n * SECOND,
        kind: AuditKind::DelegatedCall,
        did: Some(did),
        actor,
        client_id: None,
        detail: format!("call {n}"),
    };
    for event in [
        event(1, alice(), Some(bob())),
        event(2, alice(), None),
        event(3, bob(), Some(alice())),
        event(4, alice(), Some(bob())),
        event(5, alice(), Some(bob())),
    ] {
        world.storage.record(&event).await.unwrap();
    }
    let acts = world.storage.acts_of_delegates(&alice(), 2).await.unwrap();
    let details: Vec<_> = acts.iter().map(|it| it.detail.as_str()).collect();
    assert_eq!(details, ["call 5", "call 4"]);
    assert_eq!(acts[0].actor, Some(bob()));
    let acts = world.storage.acts_of_delegates(&alice(), 10).await.unwrap();
    assert_eq!(acts.len(), 3);
}
