//! For which resource servers grants and their tokens are (RFC 8707).

use std::sync::Arc;

use aip_storage::client::Client;
use aip_storage::grant::{Approve, RedeemCode, RevokeReason, Rotate, Rotation};
use aip_storage::resource_uri::ResourceList;

use crate::world::{
    HOUR, MINUTE, NOW, World, alice, at_once, code_of, measure, new_client_token, new_device,
    new_hash, public_client, redemption_of, repeated, rotation_of,
};

super::on_both_engines_and_behind_a_pooler!(
    a_token_is_for_what_its_grant_is_for_or_for_less,
    what_a_code_and_a_device_are_for_is_told_to_their_client,
    a_token_of_a_client_is_for_what_it_was_stored_with,
    what_is_taken_from_a_client_is_taken_from_its_grants,
    a_request_for_what_is_taken_just_then_has_ended,
);

fn list(text: &str) -> ResourceList {
    text.parse().unwrap()
}

const ISSUER: &str = "https://aip.example";

/// A client that is registered for these.
async fn registered_for(world: &World, id: &str, resources: &str) -> Client {
    let mut client = public_client(id);
    client.settings.resources = list(resources);
    world.storage.create_client(&client).await.unwrap();
    client
}

async fn what_is_taken_from_a_client_is_taken_from_its_grants(world: World) {
    let storage = &world.storage;
    let mut app = registered_for(&world, "app", "urn:a urn:b").await;
    let other = registered_for(&world, "other", "urn:a urn:b").await;
    let mut grants = Vec::new();
    for (client, asked, kept) in [
        (&app, "urn:a urn:b", Some("urn:b")),
        (&app, &format!("urn:a {ISSUER}"), Some(ISSUER)),
        (&app, "urn:a", None),
        (&app, "urn:b", Some("urn:b")),
        (&app, "", Some("")),
        (&other, "urn:a", Some("urn:a")),
    ] {
        let session = world.session(&client.id, &alice()).await.id;
        let mut approval = world.pending(&client.id, &alice(), session).await;
        approval.grant.resources = list(asked);
        assert_eq!(storage.approve(&approval).await.unwrap(), Approve::Approved);
        let redemption = redemption_of(&approval);
        let redeemed = storage.redeem_code(&redemption).await.unwrap();
        assert!(matches!(redeemed, RedeemCode::Redeemed(_)));
        grants.push((client.id.clone(), redemption.tokens, asked.to_owned(), kept));
    }
    app.settings.resources = list("urn:b urn:c");
    assert!(storage.update_client(&app).await.unwrap());
    for (client, tokens, asked, kept) in grants {
        let token = storage.access_token(&tokens.access, NOW).await.unwrap();
        let rotation = rotation_of(&client, &tokens);
        let rotated = storage.rotate_refresh_token(&rotation).await.unwrap();
        match (rotated, kept) {
            (Rotate::Rotated(grant), Some(kept)) => {
                assert_eq!(grant.resources, list(kept), "{asked}");
                assert_eq!(token.unwrap().audience, list(kept), "{asked}");
            }
            // For AIP itself it never was.
            (Rotate::Ended(grant), None) => {
                assert_eq!(grant.revoked.unwrap().reason, RevokeReason::ByOperator);
                assert!(token.is_none(), "{asked}");
            }
            (outcome, _) => panic!("{asked}: {outcome:?}"),
        }
    }
}

async fn a_request_for_what_is_taken_just_then_has_ended(world: World) {
    let app = registered_for(&world, "app", "urn:a urn:b").await;
    let mut approvals = Vec::new();
    for _ in 0..20 {
        let session = world.session(&app.id, &alice()).await.id;
        let mut approval = world.pending(&app.id, &alice(), session).await;
        approval.grant.resources = list("urn:a");
        approval.client_resources = Some(app.settings.resources.clone());
        approvals.push(approval);
    }
    let mut narrower = app.clone();
    narrower.settings.resources = list("urn:b");
    let (narrower, approvals) = (Arc::new(narrower), Arc::new(approvals));
    let outcomes = at_once(21, |n| {
        let storage = Arc::clone(&world.storage);
        let (narrower, approvals) = (Arc::clone(&narrower), Arc::clone(&approvals));
        async move {
            if n == 10 {
                assert!(storage.update_client(&narrower).await.unwrap());
                return None;
            }
            let approval = &approvals[n.min(19)];
            Some(storage.approve(approval).await.unwrap())
        }
    });
    for outcome in outcomes.await.into_iter().flatten() {
        assert!(matches!(outcome, Approve::Approved | Approve::RequestGone));
    }
    let live = world.storage.grants_of(&alice()).await.unwrap();
    assert!(live.is_empty(), "no live grant is for it: {live:?}");
    // Who was read after that is told at once.
    let session = world.session(&app.id, &alice()).await.id;
    let mut late = world.pending(&app.id, &alice(), session).await;
    late.grant.resources = list("urn:a");
    late.client_resources = Some(app.settings.resources.clone());
    assert_eq!(
        world.storage.approve(&late).await.unwrap(),
        Approve::RequestGone
    );
    late.grant.resources = list("urn:b");
    late.client_resources = Some(list("urn:b"));
    assert_eq!(
        world.storage.approve(&late).await.unwrap(),
        Approve::Approved
    );
}

async fn a_token_is_for_what_its_grant_is_for_or_for_less(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let mut approval = world.pending(&client, &alice(), session.id).await;
    approval.grant.resources = list("https://api.example urn:photos");
    world.storage.approve(&approval).await.unwrap();
    let mut redemption = redemption_of(&approval);
    redemption.tokens.access_audience = Some(list("urn:photos"));
    world.storage.redeem_code(&redemption).await.unwrap();
    let audience = async |hash| {
        let found = world.storage.access_token(hash, NOW + MINUTE).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.grant.resources, approval.grant.resources);
        for_call(&world, hash, &found.audience).await;
        found.audience
    };
    let first = &redemption.tokens;
    assert_eq!(audience(&first.access).await, list("urn:photos"));

    let mut rotation = rotation_of(&client, first);
    rotation.tokens.access_audience = Some(list("https://api.example"));
    let (rotated, used) = measure(world.storage.rotate_refresh_token(&rotation)).await;
    let Rotate::Rotated(grant) = rotated.unwrap() else {
        panic!("it is rotated")
    };
    assert_eq!(grant.resources, approval.grant.resources);
    assert!(used.statements >= 1);
    let access = &rotation.tokens.access;
    assert_eq!(audience(access).await, list("https://api.example"));
    // A repeat within the grace is for what it says itself.
    let mut again = repeated(&rotation);
    again.tokens.access_audience = None;
    let outcome = world.storage.rotate_refresh_token(&again).await.unwrap();
    assert!(matches!(outcome, Rotate::Rotated(_)), "{outcome:?}");
    assert_eq!(
        audience(&again.tokens.access).await,
        approval.grant.resources
    );
    // Nothing of that sticks.
    let next: Rotation = rotation_of(&client, &rotation.tokens);
    world.storage.rotate_refresh_token(&next).await.unwrap();
    assert_eq!(
        audience(&next.tokens.access).await,
        approval.grant.resources
    );

    let (usual, tokens) = world.redeemed(&client, &alice()).await;
    assert!(usual.resources.is_empty());
    let found = world.storage.access_token(&tokens.access, NOW + MINUTE);
    assert!(found.await.unwrap().unwrap().audience.is_empty());
}

/// The other look-ups of the same token say the same.
async fn for_call(world: &World, hash: &aip_keys::TokenHash, expected: &ResourceList) {
    let now = NOW + MINUTE;
    let call = world.storage.access_token_for_call(hash, now).await;
    assert_eq!(call.unwrap().unwrap().token.audience, *expected);
    let session = world.storage.access_token_with_session(hash, now).await;
    assert_eq!(session.unwrap().unwrap().token.audience, *expected);
}

async fn what_a_code_and_a_device_are_for_is_told_to_their_client(world: World) {
    let (client, other) = (world.client("app").await, world.client("other").await);
    let session = world.session(&client, &alice()).await;
    let mut approval = world.pending(&client, &alice(), session.id).await;
    approval.grant.resources = list("urn:photos");
    world.storage.approve(&approval).await.unwrap();
    let code = code_of(&approval).hash;
    let of_code = async |code, client, now| {
        let found = world.storage.code_resources(code, client, now);
        found.await.unwrap()
    };
    let resources = list("urn:photos");
    assert_eq!(of_code(&code, &client, NOW).await, Some(resources.clone()));
    assert_eq!(of_code(&code, &other, NOW).await, None);
    assert_eq!(of_code(&code, &client, NOW + HOUR).await, None);
    assert_eq!(of_code(&new_hash(), &client, NOW).await, None);

    let mut device = new_device(&client);
    device.resources = resources.clone();
    assert!(world.storage.put_device_code(&device).await.unwrap());
    let stored = world.storage.undecided_device(&device.code, NOW).await;
    assert_eq!(stored.unwrap(), Some(device.clone()));
    let of_device = async |client, now| {
        let found = world.storage.device_resources(&device.code, client, now);
        found.await.unwrap()
    };
    assert_eq!(of_device(&client, NOW).await, Some(resources));
    assert_eq!(of_device(&other, NOW).await, None);
    assert_eq!(of_device(&client, NOW + HOUR).await, None);
}

async fn a_token_of_a_client_is_for_what_it_was_stored_with(world: World) {
    let client = world.client("app").await;
    for resources in ["", "urn:photos https://api.example"] {
        let (hash, mut token) = (new_hash(), new_client_token(&client));
        token.audience = list(resources);
        world.storage.put_client_token(&hash, &token).await.unwrap();
        let found = world.storage.client_token(&hash, NOW).await.unwrap();
        assert_eq!(found, Some(token));
    }
}
