//! An access token read together with the session behind it, in one statement.

use aip_storage::account::Account;
use aip_storage::grant::{Approve, Grant, NewTokens, RedeemCode, RevokeReason};
use aip_storage::refresh::TakeLease;
use aip_storage::session_status::TokenWithSession;
use aip_storage::upstream::{Credential, UpstreamSession, UpstreamState};

use crate::world::{
    HOUR, MINUTE, NOW, World, alice, credential, new_hash, new_session, origin, redemption_of,
    scope, sealed,
};

super::on_both_engines!(
    a_token_is_read_with_its_session_and_account_in_one_statement,
    the_status_is_that_of_the_session,
    a_session_or_an_account_may_be_missing,
    a_token_that_has_expired_is_not_read,
    a_token_is_read_for_a_call_with_all_of_its_session,
);

/// A grant that such a session serves, with tokens.
pub(crate) async fn granted(world: &World, session: &UpstreamSession) -> (Grant, NewTokens) {
    let storage = &world.storage;
    storage.create_upstream_session(session).await.unwrap();
    let (client, did) = (&session.client_id, &session.did);
    let approval = world.pending(client, did, session.id).await;
    let approved = storage.approve(&approval).await.unwrap();
    assert_eq!(approved, Approve::Approved);
    let redemption = redemption_of(&approval);
    let RedeemCode::Redeemed(redeemed) = storage.redeem_code(&redemption).await.unwrap() else {
        panic!("the code is not redeemed");
    };
    (redeemed.grant, redemption.tokens)
}

async fn found(world: &World, tokens: &NewTokens) -> TokenWithSession {
    let found = world.storage.access_token_with_session(&tokens.access, NOW);
    found.await.unwrap().unwrap()
}

async fn a_token_is_read_with_its_session_and_account_in_one_statement(world: World) {
    let client = world.client("app").await;
    let session = new_session(&client, &alice());
    let (grant, tokens) = granted(&world, &session).await;
    let account = Account {
        did: alice(),
        handle: Some("alice.example".parse().unwrap()),
        pds: origin("https://pds.example"),
        proven_at: NOW,
    };
    world.storage.put_account(&account).await.unwrap();

    let read = world.storage.access_token_with_session(&tokens.access, NOW);
    let (found, used) = crate::world::measure(read).await;
    let found = found.unwrap().unwrap();

    assert_eq!(used.statements, 1);
    assert_eq!(found.token.grant.id, grant.id);
    assert_eq!(found.token.grant.subject, alice());
    assert_eq!(found.token.scope, scope("atproto"));
    assert_eq!(found.token.expires_at, NOW + HOUR);
    assert_eq!(found.session, Some(session.status()));
    assert_eq!(found.handle, account.handle);
}

async fn the_status_is_that_of_the_session(world: World) {
    let client = world.client("app").await;
    let confidential = new_session(&client, &alice());
    let public = UpstreamSession {
        credential: credential(None, "dpop key"),
        failures: 3,
        generation: 7,
        ..new_session(&client, &alice())
    };
    let app_password = UpstreamSession {
        credential: Credential::AppPassword(sealed("password")),
        ..new_session(&client, &alice())
    };
    for (session, is_public_client) in
        [(confidential, false), (public, true), (app_password, false)]
    {
        let (_, tokens) = granted(&world, &session).await;
        let status = found(&world, &tokens).await.session.unwrap();
        assert_eq!(status, session.status());
        assert_eq!(status.is_public_client, is_public_client);

        let leased = world
            .storage
            .lease(session.id, session.generation, "process", MINUTE, NOW);
        assert!(matches!(leased.await.unwrap(), TakeLease::Leased(_)));
        let stored = world.storage.upstream_session(session.id).await.unwrap();
        let status = found(&world, &tokens).await.session.unwrap();
        assert!(matches!(status.state, UpstreamState::Refreshing(_)));
        assert_eq!(status, stored.unwrap().status());
    }
}

async fn a_session_or_an_account_may_be_missing(world: World) {
    let client = world.client("app").await;
    let session = new_session(&client, &alice());
    let (_, tokens) = granted(&world, &session).await;
    let without_account = found(&world, &tokens).await;
    assert_eq!(without_account.handle, None);
    assert_eq!(without_account.session, Some(session.status()));

    let id = session.id;
    world
        .raw(format!("DELETE FROM upstream_sessions WHERE id = '{id}'"))
        .await;
    assert_eq!(found(&world, &tokens).await.session, None);
}

async fn a_token_that_has_expired_is_not_read(world: World) {
    let client = world.client("app").await;
    let session = new_session(&client, &alice());
    let (grant, tokens) = granted(&world, &session).await;
    let storage = &world.storage;
    for (token, now) in [(tokens.access, NOW + HOUR), (new_hash(), NOW)] {
        let read = storage.access_token_with_session(&token, now).await;
        assert!(read.unwrap().is_none());
    }
    let revoke = storage.revoke_grant(grant.id, RevokeReason::ByPerson, NOW);
    revoke.await.unwrap();
    let read = storage.access_token_with_session(&tokens.access, NOW).await;
    assert!(read.unwrap().is_none());
}

async fn a_token_is_read_for_a_call_with_all_of_its_session(world: World) {
    let client = world.client("app").await;
    let storage = &world.storage;
    let oauth = new_session(&client, &alice());
    let app_password = UpstreamSession {
        credential: Credential::AppPassword(sealed("password")),
        failures: 3,
        generation: 7,
        ..new_session(&client, &alice())
    };
    for session in [oauth, app_password] {
        let (grant, tokens) = granted(&world, &session).await;
        let stored = storage.upstream_session(session.id).await.unwrap();
        let read = storage.access_token_for_call(&tokens.access, NOW);
        let (found, used) = crate::world::measure(read).await;
        let found = found.unwrap().unwrap();
        assert_eq!(used.statements, 1);
        let alone = storage.access_token(&tokens.access, NOW).await.unwrap();
        assert_eq!(
            format!("{:?}", found.token),
            format!("{:?}", alone.unwrap())
        );
        assert_eq!(found.token.grant.id, grant.id);
        // The two tables have columns of the same names.
        assert_eq!(format!("{:?}", found.session), format!("{stored:?}"));

        let id = session.id;
        world
            .raw(format!("DELETE FROM upstream_sessions WHERE id = '{id}'"))
            .await;
        let found = storage.access_token_for_call(&tokens.access, NOW).await;
        assert!(found.unwrap().unwrap().session.is_none());
        for (token, now) in [(tokens.access, NOW + HOUR), (new_hash(), NOW)] {
            let read = storage.access_token_for_call(&token, now).await;
            assert!(read.unwrap().is_none());
        }
        let revoke = storage.revoke_grant(grant.id, RevokeReason::ByPerson, NOW);
        revoke.await.unwrap();
        let read = storage.access_token_for_call(&tokens.access, NOW).await;
        assert!(read.unwrap().is_none());
    }
}
