//! Grants, their end, and the look-ups of tokens.

use std::time::Duration;

use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::grant::{Approve, RedeemCode, RevokeReason, Rotate};
use aip_storage::sector::SectorId;
use aip_storage::upstream::{EndReason, UpstreamState};

use crate::world::{NOW, SECOND, World, alice, bob, new_event, redemption_of, rotation_of};

super::on_both_engines!(
    the_end_of_a_grant_is_the_end_of_its_tokens_and_its_session,
    a_session_lives_while_another_grant_uses_it,
    the_first_end_of_a_grant_is_the_one_that_counts,
    an_access_token_is_given_back_by_its_own_client_alone,
    tokens_expire,
    an_account_sees_its_live_grants_newest_first,
    taking_an_app_back_ends_its_grants_and_forgets_the_consents,
    a_grant_that_ended_without_a_reason_is_not_read,
    a_grant_keeps_the_sector_of_its_client,
);

async fn a_grant_keeps_the_sector_of_its_client(world: World) {
    let client = world.client("app").await;
    let sector: Option<SectorId> = Some("app.example".parse().unwrap());
    let session = world.session(&client, &alice()).await;
    let mut approval = world.pending(&client, &alice(), session.id).await;
    approval.grant.sector.clone_from(&sector);
    let storage = &world.storage;
    assert_eq!(storage.approve(&approval).await.unwrap(), Approve::Approved);
    let redemption = redemption_of(&approval);
    let RedeemCode::Redeemed(redeemed) = storage.redeem_code(&redemption).await.unwrap() else {
        panic!("not redeemed")
    };
    assert_eq!(redeemed.grant.sector, sector);
    let tokens = redemption.tokens;
    let access = storage.access_token(&tokens.access, NOW + SECOND).await;
    assert_eq!(access.unwrap().unwrap().grant.sector, sector);
    let for_call = storage.access_token_for_call(&tokens.access, NOW + SECOND);
    assert_eq!(for_call.await.unwrap().unwrap().token.grant.sector, sector);
    let with_session = storage.access_token_with_session(&tokens.access, NOW + SECOND);
    let with_session = with_session.await.unwrap().unwrap();
    assert_eq!(with_session.token.grant.sector, sector);
    let refresh = storage.refresh_token(&tokens.refresh, NOW + SECOND).await;
    assert_eq!(refresh.unwrap().unwrap().grant.sector, sector);
    let rotation = rotation_of(&client, &tokens);
    match storage.rotate_refresh_token(&rotation).await.unwrap() {
        Rotate::Rotated(grant) => assert_eq!(grant.sector, sector),
        refused => panic!("{refused:?}"),
    }
    assert_eq!(storage.grants_of(&alice()).await.unwrap()[0].sector, sector);
}

async fn the_end_of_a_grant_is_the_end_of_its_tokens_and_its_session(world: World) {
    let client = world.client("app").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    let now = NOW + SECOND;

    world
        .storage
        .revoke_grant(grant.id, RevokeReason::ByClient, now)
        .await
        .unwrap();

    assert!(
        world
            .storage
            .access_token(&tokens.access, now)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        world
            .storage
            .refresh_token(&tokens.refresh, now)
            .await
            .unwrap()
            .is_none()
    );
    assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
    let due = world
        .storage
        .claim_revocations(now, now + SECOND, 10)
        .await
        .unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].session.id, grant.upstream_session);
    assert_eq!(
        due[0].session.state,
        UpstreamState::Ended(EndReason::GrantRevoked)
    );
}

async fn a_session_lives_while_another_grant_uses_it(world: World) {
    let client = world.client("app").await;
    let first = world.approved(&client, &alice()).await.grant;
    let second = world
        .pending(&client, &alice(), first.upstream_session)
        .await;
    assert_eq!(
        world.storage.approve(&second).await.unwrap(),
        Approve::Approved
    );
    let state = async || {
        let session = world.storage.upstream_session(first.upstream_session).await;
        session.unwrap().unwrap().state
    };

    world
        .storage
        .revoke_grant(first.id, RevokeReason::ByClient, NOW)
        .await
        .unwrap();
    assert_eq!(state().await, UpstreamState::Active);

    world
        .storage
        .revoke_grant(second.grant.id, RevokeReason::ByClient, NOW)
        .await
        .unwrap();
    assert_eq!(state().await, UpstreamState::Ended(EndReason::GrantRevoked));
}

async fn the_first_end_of_a_grant_is_the_one_that_counts(world: World) {
    let client = world.client("app").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    world
        .storage
        .revoke_grant(grant.id, RevokeReason::ByPerson, NOW)
        .await
        .unwrap();
    world
        .storage
        .revoke_grant(grant.id, RevokeReason::ByClient, NOW + SECOND)
        .await
        .unwrap();

    let rotation = crate::world::rotation_of(&client, &tokens);
    let outcome = world.storage.rotate_refresh_token(&rotation).await.unwrap();

    let aip_storage::grant::Rotate::Ended(grant) = outcome else {
        panic!("{outcome:?}")
    };
    let revoked = grant.revoked.unwrap();
    assert_eq!((revoked.at, revoked.reason), (NOW, RevokeReason::ByPerson));
}

async fn an_access_token_is_given_back_by_its_own_client_alone(world: World) {
    let client = world.client("app").await;
    let stranger = world.client("stranger").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;

    assert!(
        !world
            .storage
            .revoke_access_token(&tokens.access, &stranger)
            .await
            .unwrap()
    );
    assert!(
        world
            .storage
            .access_token(&tokens.access, NOW)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        world
            .storage
            .revoke_access_token(&tokens.access, &client)
            .await
            .unwrap()
    );
    assert!(
        world
            .storage
            .access_token(&tokens.access, NOW)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        world
            .storage
            .refresh_token(&tokens.refresh, NOW)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        !world
            .storage
            .revoke_access_token(&tokens.access, &client)
            .await
            .unwrap()
    );
}

async fn tokens_expire(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let just_before = Duration::from_micros(1);

    for (end, live) in [(just_before, true), (Duration::ZERO, false)] {
        let now = tokens.access_expires_at - end;
        let token = world
            .storage
            .access_token(&tokens.access, now)
            .await
            .unwrap();
        assert_eq!(token.is_some(), live);
        let now = tokens.refresh_expires_at - end;
        let token = world
            .storage
            .refresh_token(&tokens.refresh, now)
            .await
            .unwrap();
        assert_eq!(token.is_some(), live);
    }
}

async fn an_account_sees_its_live_grants_newest_first(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let mut ids = Vec::new();
    for age in 0..3 {
        let mut approval = world.pending(&client, &alice(), session.id).await;
        approval.grant.created_at = NOW - age * SECOND;
        world.storage.approve(&approval).await.unwrap();
        ids.push(approval.grant.id);
    }
    world.approved(&client, &bob()).await;

    let grants = world.storage.grants_of(&alice()).await.unwrap();

    assert_eq!(grants.iter().map(|it| it.id).collect::<Vec<_>>(), ids);
}

async fn taking_an_app_back_ends_its_grants_and_forgets_the_consents(world: World) {
    let client = world.client("app").await;
    let other = world.client("other").await;
    let first = world.approved(&client, &alice()).await;
    world.approved(&client, &alice()).await;
    let kept = world.approved(&other, &alice()).await;
    let of_bob = world.approved(&client, &bob()).await;

    let storage = &world.storage;
    let end = async || {
        storage
            .revoke_client_grants(
                &client,
                &alice(),
                RevokeReason::ByPerson,
                NOW,
                new_event(AuditKind::GrantRevoked, &alice()),
            )
            .await
            .unwrap()
    };

    assert_eq!(end().await, 2);
    assert_eq!(end().await, 0);
    assert_eq!(
        storage
            .consent(first.browser, &client, &alice())
            .await
            .unwrap(),
        None
    );
    assert!(
        storage
            .consent(kept.browser, &other, &alice())
            .await
            .unwrap()
            .is_some()
    );
    let grants = storage.grants_of(&alice()).await.unwrap();
    assert_eq!(
        grants.iter().map(|it| it.id).collect::<Vec<_>>(),
        [kept.grant.id]
    );
    let grants = storage.grants_of(&bob()).await.unwrap();
    assert_eq!(
        grants.iter().map(|it| it.id).collect::<Vec<_>>(),
        [of_bob.grant.id]
    );
}

async fn a_grant_that_ended_without_a_reason_is_not_read(world: World) {
    let client = world.client("app").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    world
        .raw("UPDATE grants SET revoke_reason = 'by_magic'")
        .await;

    let error = world
        .storage
        .access_token(&tokens.access, NOW)
        .await
        .unwrap_err();

    let StorageError::Inconsistent { table, row, what } = error else {
        panic!("{error:?}")
    };
    assert_eq!((table, row), ("grants", grant.id.to_string()));
    assert!(
        !what.contains("by_magic"),
        "the value is not repeated: {what}"
    );
}
