//! Developer tokens: made, found, used, ended, and the orders of operators.

use std::sync::Arc;

use aip_atproto::Did;
use aip_base::Timestamp;
use aip_keys::TokenHash;
use aip_storage::account::Account;
use aip_storage::audit::AuditKind;
use aip_storage::client::{ClientId, CreateClient};
use aip_storage::developer_token::{
    DeveloperTokenOrder, DeveloperTokenOrigin, MAX_DEVELOPER_TOKENS, MakeDeveloperToken,
    NewDeveloperToken,
};
use aip_storage::grant::{Grant, RevokeReason};
use aip_storage::requested_claims::RequestedClaims;
use aip_storage::resource_uri::ResourceList;
use aip_storage::upstream::{EndReason, UpstreamSession, UpstreamState};

use crate::world::{
    DAY, HOUR, MINUTE, NOW, SECOND, World, alice, at_once, bob, measure, new_event as event,
    new_hash, new_id, new_session, origin, public_client, scope,
};

super::on_both_engines_and_behind_a_pooler!(
    a_token_is_found_as_any_other_until_it_ends,
    the_client_of_developer_tokens_is_nobodys_to_see_or_change,
    an_account_has_so_many_tokens_and_no_more,
    an_order_is_spent_once_and_by_its_account_alone,
    a_token_that_expired_ends_with_its_session,
    a_token_ends_with_its_session,
);

/// A token for a day with its session, not stored.
pub(crate) fn new_token(account: &Did, now: Timestamp) -> (NewDeveloperToken, UpstreamSession) {
    let client = ClientId::of_developer_tokens();
    let mut session = new_session(&client, account);
    (session.created_at, session.next_refresh_at) = (now, now + DAY);
    let allowed = scope("atproto openid profile repo:app.bsky.feed.post");
    let token = NewDeveloperToken {
        grant: Grant {
            id: new_id(),
            client_id: client,
            subject: account.clone(),
            sector: None,
            actor: account.clone(),
            scope: allowed.clone(),
            asked: allowed,
            upstream_session: session.id,
            dpop_jkt: None,
            auth_time: None,
            claims: RequestedClaims::default(),
            resources: ResourceList::default(),
            created_at: now,
            revoked: None,
        },
        name: "backup".parse().unwrap(),
        expires_at: now + DAY,
        origin: DeveloperTokenOrigin::New(new_hash()),
    };
    (token, session)
}

/// An order of a token, not stored.
pub(crate) fn new_order(account: &Did, expires_at: Timestamp) -> DeveloperTokenOrder {
    DeveloperTokenOrder {
        id: new_id(),
        link: new_hash(),
        account: account.clone(),
        name: "CI".parse().unwrap(),
        scope: scope("atproto repo:app.bsky.feed.post"),
        life: 30 * DAY,
        access: new_hash(),
        expires_at,
    }
}

async fn known(world: &World, did: &Did) {
    let account = Account {
        did: did.clone(),
        handle: None,
        pds: origin("https://pds.example"),
        proven_at: NOW,
    };
    world.storage.put_account(&account).await.unwrap();
}

async fn make(world: &World, account: &Did) -> (NewDeveloperToken, MakeDeveloperToken) {
    let (token, session) = new_token(account, NOW);
    let event = event(AuditKind::DeveloperTokenMade, account);
    let outcome = world
        .storage
        .make_developer_token(&token, &session, &[event])
        .await;
    (token, outcome.unwrap())
}

pub(crate) async fn made(world: &World, account: &Did) -> NewDeveloperToken {
    known(world, account).await;
    let (token, outcome) = make(world, account).await;
    assert_eq!(outcome, MakeDeveloperToken::Made);
    token
}

pub(crate) fn hash_of(token: &NewDeveloperToken) -> TokenHash {
    match token.origin {
        DeveloperTokenOrigin::New(hash) => hash,
        DeveloperTokenOrigin::Order(_) => panic!("{token:?}"),
    }
}

async fn is_live(world: &World, hash: TokenHash, now: Timestamp) -> bool {
    let found = world.storage.access_token(&hash, now).await.unwrap();
    found.is_some()
}

async fn sessions_in(world: &World, state: &str) -> Vec<String> {
    let query = format!("SELECT id FROM upstream_sessions WHERE state = '{state}'");
    world.strings(query).await
}

async fn a_token_is_found_as_any_other_until_it_ends(world: World) {
    let token = made(&world, &alice()).await;
    let hash = hash_of(&token);
    let call = world.storage.access_token_for_call(&hash, NOW);
    let (found, used) = measure(call).await;
    assert_eq!(used.statements, 1);
    let found = found.unwrap().unwrap();
    assert_eq!(
        found.session.unwrap().id,
        token.grant.upstream_session,
        "a session of its own"
    );
    assert_eq!(found.token.grant.subject, alice());
    assert_eq!(found.token.scope, token.grant.scope);
    assert_eq!(found.token.expires_at, token.expires_at);
    assert_eq!(
        (found.token.dpop_jkt, found.default_atproto_proxy),
        (None, None)
    );
    assert!(!is_live(&world, hash, token.expires_at).await, "its time");
    let events = world.storage.audit_events(10).await.unwrap();
    assert_eq!(events.len(), 1);

    // It is none of the apps that its owner allowed something, nor does it serve one.
    assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
    let list = async |account: Option<&Did>, now| {
        let tokens = world.storage.developer_tokens(account, None, 10, now);
        tokens.await.unwrap()
    };
    let [listed] = &list(Some(&alice()), NOW).await[..] else {
        panic!("one token");
    };
    assert_eq!((listed.id, &listed.account), (token.grant.id, &alice()));
    assert_eq!(
        (&listed.name, &listed.scope),
        (&token.name, &token.grant.scope)
    );
    assert_eq!(listed.created_at, NOW);
    assert_eq!((listed.expires_at, listed.last_used_at), (NOW + DAY, None));
    assert_eq!(list(None, NOW).await.len(), 1);
    assert!(list(Some(&bob()), NOW).await.is_empty());
    assert!(list(None, NOW + DAY).await.is_empty());
    let others = world
        .storage
        .developer_tokens(None, Some(listed.id), 10, NOW);
    assert!(others.await.unwrap().is_empty(), "after it");

    // The latest use is known, whoever writes it down last.
    for (hour, known) in [(2, 2), (1, 2), (3, 3)] {
        let hour = NOW + hour * HOUR;
        let noted = world.storage.note_developer_token_use(listed.id, hour);
        noted.await.unwrap();
        let used = list(None, NOW).await[0].last_used_at;
        assert_eq!(used, Some(NOW + known * HOUR));
    }

    let revoke = async |account: Option<Did>| {
        let (id, reason) = (token.grant.id, RevokeReason::ByPerson);
        let revoke = world.storage.revoke_developer_token(
            id,
            account.as_ref(),
            reason,
            NOW,
            event(AuditKind::DeveloperTokenRevoked, &alice()),
        );
        revoke.await.unwrap()
    };
    assert_eq!(revoke(Some(bob())).await, None, "by somebody else");
    assert!(is_live(&world, hash, NOW).await);
    assert_eq!(revoke(Some(alice())).await, Some(alice()));
    assert_eq!(revoke(Some(alice())).await, None, "once");
    assert_eq!(revoke(None).await, None);
    assert!(!is_live(&world, hash, NOW).await);
    assert!(list(None, NOW).await.is_empty());
    let session = world
        .storage
        .upstream_session(token.grant.upstream_session)
        .await;
    assert_eq!(
        session.unwrap().unwrap().state,
        UpstreamState::Ended(EndReason::GrantRevoked)
    );
    let due = world.storage.claim_revocations(NOW, NOW + HOUR, 10).await;
    assert_eq!(due.unwrap().len(), 1, "its PDS is told");
    // An operator needs no account.
    let other = made(&world, &bob()).await;
    let reason = RevokeReason::ByOperator;
    let revoked = world.storage.revoke_developer_token(
        other.grant.id,
        None,
        reason,
        NOW,
        event(AuditKind::DeveloperTokenRevoked, &alice()),
    );
    assert_eq!(revoked.await.unwrap(), Some(bob()));
}

async fn the_client_of_developer_tokens_is_nobodys_to_see_or_change(world: World) {
    made(&world, &alice()).await;
    let storage = &world.storage;
    let id = ClientId::of_developer_tokens();
    assert!(storage.client(&id).await.unwrap().is_none());
    assert!(storage.list_clients().await.unwrap().is_empty());
    let mut same = public_client(id.as_str());
    assert_eq!(
        storage.create_client(&same).await.unwrap(),
        CreateClient::Exists
    );
    "Mine".clone_into(&mut same.settings.name);
    assert!(!storage.update_client(&same).await.unwrap());
    let read_at = same.updated_at;
    assert!(!storage.update_client_as_read(&same, read_at).await.unwrap());
    let secret = new_hash();
    let replaced = storage.replace_client_secret(&id, &secret, NOW).await;
    assert!(!replaced.unwrap());
    assert!(!storage.delete_client(&id, NOW).await.unwrap());
    let names = world.strings("SELECT name FROM clients").await;
    assert_eq!(names, ["Developer tokens"]);
    // Nor is it forgotten with clients that nobody uses.
    let later = NOW + 400 * DAY;
    storage.delete_unused_clients(later, 50).await.unwrap();
    let unused = storage.delete_unused_document_clients(later, later, 50);
    unused.await.unwrap();
    assert_eq!(world.strings("SELECT name FROM clients").await, names);
}

async fn an_account_has_so_many_tokens_and_no_more(world: World) {
    for _ in 1..MAX_DEVELOPER_TOKENS {
        made(&world, &alice()).await;
    }
    let world = Arc::new(world);
    let outcomes = at_once(6, |_| {
        let world = Arc::clone(&world);
        async move { make(&world, &alice()).await }
    });
    let outcomes = outcomes.await;
    let live = sessions_in(&world, "active").await;
    assert_eq!(
        live.len(),
        MAX_DEVELOPER_TOKENS as usize,
        "one for each token"
    );
    let mut made_now = 0;
    for (token, outcome) in &outcomes {
        let is_made = *outcome == MakeDeveloperToken::Made;
        assert!(is_made || *outcome == MakeDeveloperToken::Full);
        assert_eq!(is_live(&world, hash_of(token), NOW).await, is_made);
        made_now += usize::from(is_made);
    }
    assert_eq!(made_now, 1);
    let told = world.storage.audit_events(100).await.unwrap().len();
    assert_eq!(told, MAX_DEVELOPER_TOKENS as usize, "nothing of the others");
    // Somebody else has their own.
    made(&world, &bob()).await;
    // A place is free when one is revoked.
    let alice = alice();
    let first = world.storage.developer_tokens(Some(&alice), None, 1, NOW);
    let id = first.await.unwrap()[0].id;
    let reason = RevokeReason::ByPerson;
    let revoke = world.storage.revoke_developer_token(
        id,
        None,
        reason,
        NOW + SECOND,
        event(AuditKind::DeveloperTokenRevoked, &alice),
    );
    assert!(revoke.await.unwrap().is_some());
    assert_eq!(make(&world, &alice).await.1, MakeDeveloperToken::Made);
    assert_eq!(make(&world, &alice).await.1, MakeDeveloperToken::Full);
}

async fn an_order_is_spent_once_and_by_its_account_alone(world: World) {
    known(&world, &alice()).await;
    known(&world, &bob()).await;
    let world = Arc::new(world);
    let order = new_order(&alice(), NOW + MINUTE);
    world
        .storage
        .put_developer_token_order(&order)
        .await
        .unwrap();
    let found = async |now| {
        let found = world.storage.developer_token_order(&order.link, now);
        found.await.unwrap()
    };
    assert_eq!(
        format!("{:?}", found(NOW).await.unwrap()),
        format!("{order:?}")
    );
    assert!(found(NOW + MINUTE).await.is_none(), "its time");
    let spend = |order: &DeveloperTokenOrder, account: &Did, now: Timestamp| {
        let (mut token, session) = new_token(account, now);
        token.origin = DeveloperTokenOrigin::Order(order.id);
        let world = Arc::clone(&world);
        async move {
            let made = world.storage.make_developer_token(&token, &session, &[]);
            made.await.unwrap()
        }
    };
    let gone = MakeDeveloperToken::OrderGone;
    assert_eq!(spend(&order, &bob(), NOW).await, gone, "another account");
    assert_eq!(spend(&order, &alice(), NOW + MINUTE).await, gone, "late");
    assert!(!is_live(&world, order.access, NOW).await);
    assert!(sessions_in(&world, "active").await.is_empty());
    assert!(found(NOW).await.is_some(), "it stays for her");

    let outcomes = at_once(6, |_| spend(&order, &alice(), NOW)).await;
    let made = outcomes.iter().filter(|it| **it != gone);
    assert!(made.eq([&MakeDeveloperToken::Made]), "{outcomes:?}");
    assert!(is_live(&world, order.access, NOW).await);
    assert!(found(NOW).await.is_none());
    assert_eq!(sessions_in(&world, "active").await.len(), 1);

    // One that was refused, or withdrawn.
    let order = new_order(&alice(), NOW + MINUTE);
    world
        .storage
        .put_developer_token_order(&order)
        .await
        .unwrap();
    for was_there in [true, false] {
        let dropped = world.storage.drop_developer_token_order(order.id).await;
        assert_eq!(dropped.unwrap(), was_there);
    }
    assert_eq!(spend(&order, &alice(), NOW).await, gone);
}

async fn a_token_that_expired_ends_with_its_session(world: World) {
    let token = made(&world, &alice()).await;
    let end = async |now| {
        let ended = world.storage.end_expired_grants(now - HOUR, now, 10);
        ended.await.unwrap()
    };
    assert_eq!(end(token.expires_at - SECOND).await, 0);
    assert_eq!(sessions_in(&world, "active").await.len(), 1);
    assert_eq!(end(token.expires_at).await, 1);
    assert_eq!(end(token.expires_at).await, 0, "once");
    assert_eq!(sessions_in(&world, "ended").await.len(), 1);
    let later = token.expires_at + MINUTE;
    let due = world
        .storage
        .claim_revocations(later, later + HOUR, 10)
        .await;
    assert_eq!(due.unwrap().len(), 1, "its PDS is told");
    let reasons = world.strings("SELECT revoke_reason FROM grants").await;
    assert_eq!(reasons, ["expired"]);
}

async fn a_token_ends_with_its_session(world: World) {
    let token = made(&world, &alice()).await;
    // It is in use from the moment that it is there.
    let abandoned = world.storage.end_abandoned_sessions(NOW + DAY, NOW + DAY);
    assert_eq!(abandoned.await.unwrap(), 0);
    let (session, reason) = (token.grant.upstream_session, EndReason::ByOperator);
    let ended = world.storage.end_upstream_session(session, reason, NOW);
    assert!(ended.await.unwrap());
    assert!(!is_live(&world, hash_of(&token), NOW).await);
    let tokens = world.storage.developer_tokens(None, None, 10, NOW);
    assert!(tokens.await.unwrap().is_empty());
}
