//! Which session of an app password a call may be made with.

use aip_atproto::Did;
use aip_keys::TokenHash;
use aip_storage::client::ClientId;
use aip_storage::refresh::TakeLease;
use aip_storage::upstream::{Credential, EndReason, ReauthReason, UpstreamSession, UpstreamState};

use crate::delegations::{given, token_of};
use crate::developer_tokens::{hash_of, made};
use crate::token_sessions::granted;
use crate::world::{MINUTE, NOW, World, alice, bob, measure, new_session, sealed};

super::on_both_engines!(
    a_call_may_be_made_with_the_app_password_that_can_be_used,
    an_app_password_is_for_calls_of_its_client_and_account,
    an_app_password_is_not_used_for_longer_than_the_session_of_its_grant,
    who_acts_for_somebody_and_scripts_never_call_with_an_app_password,
);

/// A session of an app password, not stored.
fn app_password(client: &ClientId, did: &Did, state: UpstreamState) -> UpstreamSession {
    UpstreamSession {
        credential: Credential::AppPassword(sealed("password")),
        state,
        generation: 7,
        ..new_session(client, did)
    }
}

/// The app password that a call by that token may be made with, as text. It and the session of the grant
/// are read in one statement.
async fn found(world: &World, access: &TokenHash) -> Option<String> {
    let read = world.storage.access_token_for_call(access, NOW);
    let (found, used) = measure(read).await;
    assert_eq!(used.statements, 1);
    let found = found.unwrap().unwrap();
    assert_ne!(
        found.session.as_ref().map(|it| it.id),
        found.app_password.as_ref().map(|it| it.id),
        "that of the grant is its own"
    );
    found.app_password.map(|it| format!("{it:?}"))
}

/// A session as it is stored, as text.
async fn stored(world: &World, session: &UpstreamSession) -> Option<String> {
    let stored = world.storage.upstream_session(session.id).await.unwrap();
    stored.map(|it| format!("{it:?}"))
}

async fn a_call_may_be_made_with_the_app_password_that_can_be_used(world: World) {
    let storage = &world.storage;
    let client = world.client("app").await;
    let (grant, tokens) = granted(&world, &new_session(&client, &alice())).await;
    assert_eq!(found(&world, &tokens.access).await, None);
    // A session of OAuth that is newer is another sign-in, and no app password.
    granted(&world, &new_session(&client, &alice())).await;
    assert_eq!(found(&world, &tokens.access).await, None);

    for (state, is_used) in [
        (UpstreamState::Active, true),
        (UpstreamState::Uncertain, true),
        (UpstreamState::NeedsReauth(ReauthReason::Refused), false),
        (UpstreamState::Ended(EndReason::PasswordRemoved), false),
    ] {
        let session = app_password(&client, &alice(), state.clone());
        storage
            .replace_app_password_session(&session)
            .await
            .unwrap();
        let expected = stored(&world, &session).await.filter(|_| is_used);
        assert_eq!(found(&world, &tokens.access).await, expected, "{state:?}");
    }

    // One that is being refreshed is there, and the one that takes its place is it from then on.
    let first = app_password(&client, &alice(), UpstreamState::Active);
    storage.replace_app_password_session(&first).await.unwrap();
    let lease = storage.lease(first.id, first.generation, "process", MINUTE, NOW);
    assert!(matches!(lease.await.unwrap(), TakeLease::Leased(_)));
    let expected = stored(&world, &first).await;
    assert_eq!(found(&world, &tokens.access).await, expected);
    let second = app_password(&client, &alice(), UpstreamState::Active);
    storage.replace_app_password_session(&second).await.unwrap();
    let expected = stored(&world, &second).await;
    assert_eq!(found(&world, &tokens.access).await, expected);
    let ended = storage.end_upstream_session(second.id, EndReason::PasswordRemoved, NOW);
    ended.await.unwrap();
    assert_eq!(found(&world, &tokens.access).await, None);
    let read = storage.access_token_for_call(&tokens.access, NOW).await;
    let own = read.unwrap().unwrap().session.unwrap();
    assert_eq!(own.id, grant.upstream_session, "that of the grant stays");
}

async fn an_app_password_is_for_calls_of_its_client_and_account(world: World) {
    let (client, other) = (world.client("app").await, world.client("other").await);
    let (_, tokens) = granted(&world, &new_session(&client, &alice())).await;
    let mut of = Vec::new();
    for (client, did) in [(&client, bob()), (&other, alice()), (&other, bob())] {
        let session = app_password(client, &did, UpstreamState::Active);
        let replaced = world.storage.replace_app_password_session(&session).await;
        replaced.unwrap();
        assert_eq!(found(&world, &tokens.access).await, None);
        let (_, its) = granted(&world, &new_session(client, &did)).await;
        of.push((its, stored(&world, &session).await));
    }
    for (tokens, expected) in of {
        assert_eq!(found(&world, &tokens.access).await, expected);
    }
}

async fn an_app_password_is_not_used_for_longer_than_the_session_of_its_grant(world: World) {
    let client = world.client("app").await;
    let own = new_session(&client, &alice());
    let (_, tokens) = granted(&world, &own).await;
    let session = app_password(&client, &alice(), UpstreamState::Active);
    let replaced = world.storage.replace_app_password_session(&session).await;
    replaced.unwrap();
    let id = own.id;
    for (state, reason, is_used) in [
        ("uncertain", "NULL", true),
        ("needs_reauth", "'refused'", false),
        ("ended", "'authentication_only'", false),
        ("active", "NULL", true),
    ] {
        let set = format!(
            "UPDATE upstream_sessions SET state = '{state}', reason = {reason} WHERE id = '{id}'"
        );
        world.raw(set).await;
        let found = found(&world, &tokens.access).await;
        assert_eq!(found.is_some(), is_used, "{state}");
    }
    world
        .raw(format!("DELETE FROM upstream_sessions WHERE id = '{id}'"))
        .await;
    let read = world.storage.access_token_for_call(&tokens.access, NOW);
    let read = read.await.unwrap().unwrap();
    assert!(read.session.is_none() && read.app_password.is_none());
}

async fn who_acts_for_somebody_and_scripts_never_call_with_an_app_password(world: World) {
    let client = world.client("app").await;
    let scripts = ClientId::of_developer_tokens();
    for client in [&client, &scripts] {
        let session = app_password(client, &alice(), UpstreamState::Active);
        let replaced = world.storage.replace_app_password_session(&session).await;
        replaced.unwrap();
    }
    let delegation = given(&world, &alice(), &bob()).await;
    let (parent, _) = world.redeemed(&client, &bob()).await;
    let delegated = token_of(&delegation, &parent);
    let put = world.storage.put_delegated_token(&delegated).await;
    assert!(put.unwrap());
    assert_eq!(found(&world, &delegated.access).await, None);

    let script = made(&world, &alice()).await;
    assert_eq!(found(&world, &hash_of(&script)).await, None);

    let (_, tokens) = granted(&world, &new_session(&client, &alice())).await;
    assert!(found(&world, &tokens.access).await.is_some());
}
