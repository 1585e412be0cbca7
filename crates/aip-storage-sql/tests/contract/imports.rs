//! Sessions of another server: nothing of them is seen until they are released, and then all of it.

use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::imports::{HeldSession, HeldTokenKind, HoldOutcome, ImportState};
use aip_storage::operations::SealedColumn;
use aip_storage::refresh::ClaimDue;
use aip_storage::upstream::{Credential, SessionKind, UpstreamState};

use crate::world::{
    DAY, HOUR, MINUTE, NOW, SECOND, World, alice, bob, credential, new_held_session, new_session,
    sealed,
};

super::on_both_engines!(
    what_is_held_is_seen_by_nobody,
    what_is_released_is_as_if_it_had_begun_here,
    a_session_is_held_as_it_was_seen_last,
    an_earlier_run_that_is_slow_changes_nothing_of_a_later_one,
    a_token_follows_its_session,
    what_a_run_has_not_seen_is_forgotten,
    what_was_released_is_not_held_again,
    an_app_has_one_app_password_for_an_account,
    app_passwords_are_released_after_the_grants_that_use_them,
    the_first_release_is_remembered,
    held_values_are_sealed_again_and_their_keys_counted,
    what_is_bound_to_a_lost_key_is_forgotten,
);

async fn hold(world: &World, held: &HeldSession, run: Timestamp) -> HoldOutcome {
    let held = std::slice::from_ref(held);
    let outcomes = world.storage.hold_sessions(held, run).await.unwrap();
    let [outcome] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    *outcome
}

async fn known(world: &World, id: RowId, content: TokenHash, run: Timestamp) -> ImportState {
    let known = world.storage.known_sessions(&[(id, content)], run).await;
    known.unwrap()[0]
}

async fn release_all(world: &World) -> u64 {
    let mut released = 0;
    loop {
        let now = world.storage.release_sessions(2).await.unwrap();
        released += now;
        if world.storage.count_held_sessions().await.unwrap() == 0 {
            return released;
        }
    }
}

/// The hashes of its access and its refresh token.
fn hashes(held: &HeldSession) -> [TokenHash; 2] {
    let tokens = &held.grant.as_ref().unwrap().tokens;
    let of = |refresh: bool| {
        let token = tokens.iter();
        let mut token = token.filter(|it| matches!(it.kind, HeldTokenKind::Refresh) == refresh);
        token.next().unwrap().hash
    };
    [of(false), of(true)]
}

async fn what_is_held_is_seen_by_nobody(world: World) {
    let storage = &world.storage;
    let client = world.client("app").await;
    let held = new_held_session(&client, &alice(), NOW);
    assert_eq!(hold(&world, &held, NOW).await, HoldOutcome::Held);
    assert_eq!(storage.count_held_sessions().await.unwrap(), 1);
    let id = held.session.id;
    assert!(storage.upstream_session(id).await.unwrap().is_none());
    for kind in [SessionKind::OAuth, SessionKind::AppPassword] {
        let alice = alice();
        let usable = storage.usable_upstream_session(kind, &client, &alice);
        assert!(usable.await.unwrap().is_none());
    }
    let due = storage.claim_due(ClaimDue {
        owner: "keeper",
        length: MINUTE,
        now: NOW + 30 * DAY,
        limit: 10,
        except: &[],
    });
    assert_eq!(due.await.unwrap().len(), 0);
    let counts = storage.count_upstream_sessions(NOW).await.unwrap();
    assert_eq!(counts.counts, []);
    let [access, refresh] = hashes(&held);
    assert!(storage.access_token(&access, NOW).await.unwrap().is_none());
    assert!(
        storage
            .refresh_token(&refresh, NOW)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(storage.grants_of(&alice()).await.unwrap().len(), 0);
    // Nothing of it is told to a PDS, whoever goes.
    let ended = storage.end_abandoned_sessions(NOW + DAY, NOW + DAY);
    assert_eq!(ended.await.unwrap(), 0);
    assert!(storage.delete_client(&client, NOW).await.unwrap());
    let due = storage.claim_revocations(NOW + DAY, NOW + 2 * DAY, 10);
    assert_eq!(due.await.unwrap().len(), 0);
    assert_eq!(storage.count_held_sessions().await.unwrap(), 0);
    assert_eq!(hold(&world, &held, NOW).await, HoldOutcome::NoClient);
}

async fn what_is_released_is_as_if_it_had_begun_here(world: World) {
    let storage = &world.storage;
    let client = world.client("app").await;
    let mut held: Vec<HeldSession> = (0..5)
        .map(|_| new_held_session(&client, &alice(), NOW))
        .collect();
    held[1].session.state = UpstreamState::Uncertain;
    let outcomes = storage.hold_sessions(&held, NOW).await.unwrap();
    assert_eq!(outcomes, [HoldOutcome::Held; 5]);
    assert_eq!(release_all(&world).await, 5);
    assert_eq!(storage.release_sessions(2).await.unwrap(), 0);
    for one in &held {
        let session = storage.upstream_session(one.session.id).await.unwrap();
        // Due when its access token is over.
        let mut expected = one.session.clone();
        expected.next_refresh_at = expected.tokens.access_expires_at;
        assert_eq!(format!("{:?}", session.unwrap()), format!("{expected:?}"));
        let [access, refresh] = hashes(one);
        let token = storage.access_token(&access, NOW).await.unwrap().unwrap();
        let grant = one.grant.as_ref().unwrap();
        assert_eq!(token.grant.scope, grant.scope);
        assert_eq!(token.grant.asked, grant.scope);
        assert_eq!(token.grant.subject, alice());
        assert_eq!(token.grant.actor, alice());
        assert_eq!(token.grant.upstream_session, one.session.id);
        assert_eq!(token.grant.auth_time, None);
        let token = storage.refresh_token(&refresh, NOW).await.unwrap().unwrap();
        assert_eq!(token.grant.id, one.session.id);
        assert!(!token.spent);
    }
    let account = storage.account(&alice()).await.unwrap().unwrap();
    assert_eq!(account.handle, None, "it was not proven");
    let left = world.strings("SELECT CAST(COUNT(*) AS TEXT) FROM imported_tokens");
    assert_eq!(left.await, ["0"]);
}

async fn a_session_is_held_as_it_was_seen_last(world: World) {
    let client = world.client("app").await;
    let first = new_held_session(&client, &alice(), NOW);
    let id = first.session.id;
    hold(&world, &first, NOW).await;
    assert_eq!(
        known(&world, id, first.content, NOW).await,
        ImportState::Unchanged
    );
    let mut second = new_held_session(&client, &alice(), NOW);
    second.session.id = id;
    assert_eq!(
        known(&world, id, second.content, NOW).await,
        ImportState::Changed
    );
    assert_eq!(hold(&world, &second, NOW + SECOND).await, HoldOutcome::Held);
    assert_eq!(release_all(&world).await, 1);
    let [_, old] = hashes(&first);
    let [_, new] = hashes(&second);
    let token = |hash| world.storage.refresh_token(hash, NOW);
    assert!(token(&old).await.unwrap().is_none());
    assert!(token(&new).await.unwrap().is_some());
}

async fn an_earlier_run_that_is_slow_changes_nothing_of_a_later_one(world: World) {
    let client = world.client("app").await;
    let fresh = new_held_session(&client, &alice(), NOW);
    let id = fresh.session.id;
    let later = NOW + MINUTE;
    assert_eq!(hold(&world, &fresh, later).await, HoldOutcome::Held);
    let mut old = Vec::new();
    for run in [NOW, NOW + SECOND] {
        let mut stale = new_held_session(&client, &alice(), NOW);
        stale.session.id = id;
        assert_eq!(hold(&world, &stale, run).await, HoldOutcome::Held);
        old.extend(hashes(&stale));
    }
    assert_eq!(
        known(&world, id, fresh.content, later).await,
        ImportState::Unchanged
    );
    assert_eq!(release_all(&world).await, 1);
    let [_, refresh] = hashes(&fresh);
    let token = world.storage.refresh_token(&refresh, NOW).await;
    assert_eq!(token.unwrap().unwrap().grant.id, id);
    for hash in old {
        let access = world.storage.access_token(&hash, NOW).await.unwrap();
        let refresh = world.storage.refresh_token(&hash, NOW).await.unwrap();
        assert!(access.is_none() && refresh.is_none());
    }
}

async fn a_token_follows_its_session(world: World) {
    let client = world.client("app").await;
    let before = new_held_session(&client, &alice(), NOW);
    hold(&world, &before, NOW).await;
    let next = NOW + MINUTE;
    let mut after = new_held_session(&client, &alice(), NOW);
    after.grant.clone_from(&before.grant);
    hold(&world, &after, next).await;
    assert_eq!(world.storage.drop_unseen_sessions(next).await.unwrap(), 1);
    assert_eq!(release_all(&world).await, 1);
    let [access, refresh] = hashes(&before);
    let token = world.storage.access_token(&access, NOW).await.unwrap();
    assert_eq!(token.unwrap().grant.id, after.session.id);
    let token = world.storage.refresh_token(&refresh, NOW).await.unwrap();
    assert_eq!(token.unwrap().grant.id, after.session.id);
}

async fn what_a_run_has_not_seen_is_forgotten(world: World) {
    let client = world.client("app").await;
    let [stays, changed, gone] = [(); 3].map(|()| new_held_session(&client, &alice(), NOW));
    for held in [&stays, &changed, &gone] {
        hold(&world, held, NOW).await;
    }
    let next = NOW + MINUTE;
    known(&world, stays.session.id, stays.content, next).await;
    hold(&world, &changed, next).await;
    assert_eq!(world.storage.drop_unseen_sessions(next).await.unwrap(), 1);
    assert_eq!(world.storage.drop_unseen_sessions(next).await.unwrap(), 0);
    assert_eq!(release_all(&world).await, 2);
    let session = world.storage.upstream_session(gone.session.id).await;
    assert!(session.unwrap().is_none());
}

async fn what_was_released_is_not_held_again(world: World) {
    let client = world.client("app").await;
    let held = new_held_session(&client, &alice(), NOW);
    let id = held.session.id;
    hold(&world, &held, NOW).await;
    release_all(&world).await;
    assert_eq!(
        known(&world, id, held.content, NOW).await,
        ImportState::Released
    );
    assert_eq!(hold(&world, &held, NOW).await, HoldOutcome::Released);
    assert_eq!(world.storage.count_held_sessions().await.unwrap(), 0);
}

async fn an_app_has_one_app_password_for_an_account(world: World) {
    let client = world.client("app").await;
    let password = || Credential::AppPassword(sealed("password"));
    for did in [alice(), bob()] {
        let mut held = new_held_session(&client, &did, NOW);
        (held.session.credential, held.grant) = (password(), None);
        hold(&world, &held, NOW).await;
    }
    let mut own = new_session(&client, &alice());
    own.credential = password();
    let stored = world.storage.create_upstream_session(&own);
    stored.await.unwrap();
    assert_eq!(release_all(&world).await, 1);
    for (did, is_own) in [(alice(), true), (bob(), false)] {
        let kind = SessionKind::AppPassword;
        let usable = world.storage.usable_upstream_session(kind, &client, &did);
        assert_eq!(usable.await.unwrap().unwrap().id == own.id, is_own);
    }
}

async fn app_passwords_are_released_after_the_grants_that_use_them(world: World) {
    let client = world.client("app").await;
    let mut passwords = Vec::new();
    for did in [alice(), bob()] {
        let mut held = new_held_session(&client, &did, NOW);
        held.session.credential = Credential::AppPassword(sealed("password"));
        held.grant = None;
        hold(&world, &held, NOW).await;
        passwords.push(held.session.id);
        for _ in 0..3 {
            hold(&world, &new_held_session(&client, &did, NOW), NOW).await;
        }
    }
    for left in (0..8).rev() {
        assert_eq!(world.storage.release_sessions(1).await.unwrap(), 1);
        assert_eq!(world.storage.count_held_sessions().await.unwrap(), left);
        // Whenever it is killed, nothing of it is ended as unused.
        let ended = world.storage.end_abandoned_sessions(NOW + DAY, NOW + DAY);
        assert_eq!(ended.await.unwrap(), 0, "{left} are held");
        let mut released = 0;
        for id in &passwords {
            let session = world.storage.upstream_session(*id).await.unwrap();
            released += u64::from(session.is_some());
        }
        assert_eq!(released, 2_u64.saturating_sub(left), "{left} are held");
    }
}

async fn the_first_release_is_remembered(world: World) {
    let storage = &world.storage;
    assert_eq!(storage.released_at().await.unwrap(), None);
    assert_eq!(storage.begin_release(NOW).await.unwrap(), NOW);
    assert_eq!(storage.begin_release(NOW + HOUR).await.unwrap(), NOW);
    assert_eq!(storage.released_at().await.unwrap(), Some(NOW));
}

async fn held_values_are_sealed_again_and_their_keys_counted(world: World) {
    let storage = &world.storage;
    let client = world.client("app").await;
    let mut held = new_held_session(&client, &alice(), NOW);
    held.session.credential = credential(Some("v2-key"), "v1.a.x.y");
    hold(&world, &held, NOW).await;
    let uses = storage.client_key_uses().await.unwrap();
    assert_eq!(uses.len(), 1);
    assert_eq!((&*uses[0].kid, uses[0].sessions), ("v2-key", 1));

    let column = SealedColumn::HeldDpopKey;
    let row = held.session.id.to_string();
    assert_eq!(column.table(), "imported_sessions");
    let (place, later) = (column.place(&row), SealedColumn::DpopKey.place(&row));
    assert_eq!((place.table, place.column), (later.table, later.column));
    assert_eq!(storage.count_sealed(column, "v1.a.").await.unwrap(), 1);
    let old = storage
        .sealed_with_other_keys(column, "v1.b.", "", 10)
        .await;
    let old = old.unwrap().remove(0);
    let fresh = sealed("v1.b.x.y");
    let resealed = storage.reseal(column, &[(old, fresh.clone())]).await;
    assert_eq!(resealed.unwrap(), 1);
    release_all(&world).await;
    let session = storage.upstream_session(held.session.id).await.unwrap();
    let Credential::OAuth(oauth) = session.unwrap().credential else {
        panic!("a session of OAuth");
    };
    assert_eq!(oauth.dpop_key.as_str(), fresh.as_str());
}

async fn what_is_bound_to_a_lost_key_is_forgotten(world: World) {
    let storage = &world.storage;
    let client = world.client("app").await;
    let mut kept = Vec::new();
    for (did, kid) in [
        (alice(), Some("lost")),
        (bob(), Some("lost")),
        (alice(), Some("other")),
        (bob(), None),
    ] {
        let mut held = new_held_session(&client, &did, NOW);
        held.session.credential = credential(kid, "v1.a.x.y");
        hold(&world, &held, NOW).await;
        if kid != Some("lost") {
            kept.push(held.session.id);
        }
    }
    assert_eq!(storage.forget_held_sessions("nothing").await.unwrap(), 0);
    assert_eq!(storage.forget_held_sessions("lost").await.unwrap(), 2);
    assert_eq!(storage.forget_held_sessions("lost").await.unwrap(), 0);
    let uses = storage.client_key_uses().await.unwrap();
    assert_eq!(uses.len(), 1);
    assert_eq!((&*uses[0].kid, uses[0].sessions), ("other", 1));
    assert_eq!(release_all(&world).await, 2);
    for id in kept {
        assert!(storage.upstream_session(id).await.unwrap().is_some());
    }
}
