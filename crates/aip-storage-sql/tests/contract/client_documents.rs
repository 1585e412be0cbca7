//! Clients that are known by a document: kept with the first approval, forgotten with the last grant.

use std::sync::Arc;

use aip_storage::client::{Client, ClientId};
use aip_storage::grant::{Approval, Approve, DocumentClient, RevokeReason};

use crate::on_both_engines;
use crate::world::{DAY, NOW, World, alice, at_once, public_client};

on_both_engines!(
    a_client_is_kept_with_its_first_approval,
    no_more_are_kept_than_may_be_and_a_refusal_changes_nothing,
    of_fifty_first_approvals_each_is_given_and_one_client_kept,
    who_is_allowed_something_just_then_is_not_forgotten,
    who_has_grants_is_not_forgotten,
    a_client_of_the_operators_is_not_taken_over,
);

fn document_client(id: &ClientId) -> Client {
    Client {
        from_document: true,
        ..public_client(id.as_str())
    }
}

/// A yes to a client with a document that waits, in a browser of its own.
async fn pending(world: &World, id: &ClientId, max_clients: u64) -> Approval {
    let session = world.session(id, &alice()).await;
    Approval {
        client_from_document: Some(DocumentClient {
            client: document_client(id),
            max_clients,
        }),
        ..world.pending(id, &alice(), session.id).await
    }
}

fn id(n: usize) -> ClientId {
    format!("https://app.example/{n}.json").parse().unwrap()
}

async fn kept(world: &World) -> Vec<ClientId> {
    let clients = world.storage.list_clients().await.unwrap();
    clients.into_iter().map(|it| it.id).collect()
}

async fn a_client_is_kept_with_its_first_approval(world: World) {
    let id = id(1);
    let first = pending(&world, &id, 10).await;
    let open = world.storage.request(&first.request, first.browser, NOW);
    assert!(open.await.unwrap().unwrap().client.is_none());
    assert!(kept(&world).await.is_empty());
    assert_eq!(
        world.storage.approve(&first).await.unwrap(),
        Approve::Approved
    );
    let stored = world.storage.client(&id).await.unwrap().unwrap();
    assert!(stored.from_document && !stored.registered_itself);
    assert_eq!(stored.settings, document_client(&id).settings);

    // A later one is noted, at most once a day, and says nothing about the client.
    for (later, noted) in [(DAY / 2, NOW), (DAY * 2, NOW + DAY * 2)] {
        let mut again = pending(&world, &id, 10).await;
        again.grant.created_at = NOW + later;
        let document = again.client_from_document.as_mut().unwrap();
        "Another".clone_into(&mut document.client.settings.name);
        crate::world::run(
            &world.url,
            "UPDATE authorization_requests SET expires_at = 9000000000000000",
        )
        .await
        .unwrap();
        assert_eq!(
            world.storage.approve(&again).await.unwrap(),
            Approve::Approved
        );
        let after = world.storage.client(&id).await.unwrap().unwrap();
        assert_eq!(after.updated_at, noted);
        assert_eq!(after.settings, stored.settings);
    }
    let deleted = world.storage.delete_client(&id, NOW + DAY).await;
    assert!(deleted.unwrap());
    let requests = "SELECT CAST(count(*) AS TEXT) FROM authorization_requests";
    assert_eq!(world.strings(requests.to_owned()).await, ["0"]);
}

async fn no_more_are_kept_than_may_be_and_a_refusal_changes_nothing(world: World) {
    world.client("operators").await;
    let first = pending(&world, &id(1), 2).await;
    assert_eq!(
        world.storage.approve(&first).await.unwrap(),
        Approve::Approved
    );
    let second = pending(&world, &id(2), 2).await;
    assert_eq!(
        world.storage.approve(&second).await.unwrap(),
        Approve::Approved
    );
    let third = pending(&world, &id(3), 2).await;
    assert_eq!(
        world.storage.approve(&third).await.unwrap(),
        Approve::ClientsFull
    );
    assert_eq!(kept(&world).await.len(), 3);
    let open = world.storage.request(&third.request, third.browser, NOW);
    assert!(open.await.unwrap().is_some(), "the app can still be told");
    // Who is kept goes on.
    let again = pending(&world, &id(1), 2).await;
    assert_eq!(
        world.storage.approve(&again).await.unwrap(),
        Approve::Approved
    );
}

async fn of_fifty_first_approvals_each_is_given_and_one_client_kept(world: World) {
    let mut approvals = Vec::new();
    for _ in 0..50 {
        approvals.push(pending(&world, &id(1), 10).await);
    }
    let (world, approvals) = (Arc::new(world), Arc::new(approvals));
    let outcomes = at_once(50, |n| {
        let (world, approvals) = (Arc::clone(&world), Arc::clone(&approvals));
        async move { world.storage.approve(&approvals[n]).await.unwrap() }
    });
    let outcomes = outcomes.await;
    assert!(outcomes.iter().all(|it| *it == Approve::Approved));
    assert_eq!(kept(&world).await, [id(1)]);
}

async fn who_is_allowed_something_just_then_is_not_forgotten(world: World) {
    let mut approvals = Vec::new();
    for n in 0..20 {
        // Kept since long ago, with nothing left of it.
        let client = document_client(&id(n));
        world.storage.create_client(&client).await.unwrap();
        let mut approval = pending(&world, &id(n), 100).await;
        approval.grant.created_at = NOW + DAY * 60;
        approvals.push(approval);
    }
    crate::world::run(
        &world.url,
        "UPDATE authorization_requests SET expires_at = 9000000000000000",
    )
    .await
    .unwrap();
    let (world, approvals) = (Arc::new(world), Arc::new(approvals));
    let (before, now) = (NOW + DAY * 30, NOW + DAY * 60);
    let approved = at_once(40, |n| {
        let (world, approvals) = (Arc::clone(&world), Arc::clone(&approvals));
        async move {
            if n % 2 == 0 {
                let forget = world.storage.delete_unused_document_clients(before, now, 3);
                forget.await.unwrap();
                return None;
            }
            let approval = &approvals[n / 2];
            let outcome = world.storage.approve(approval).await.unwrap();
            (outcome == Approve::Approved).then(|| approval.grant.client_id.clone())
        }
    });
    let mut allowed: Vec<_> = approved.await.into_iter().flatten().collect();
    allowed.sort();
    let forget = world
        .storage
        .delete_unused_document_clients(before, now, 100);
    forget.await.unwrap();
    let grants = "SELECT client_id FROM grants ORDER BY client_id";
    let mut with_grants = world.strings(grants.to_owned()).await;
    with_grants.sort();
    let names: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    assert_eq!(with_grants, names, "no grant was lost");
    let mut clients = kept(&world).await;
    clients.sort();
    assert_eq!(
        clients, allowed,
        "who was allowed something, and nobody else"
    );
}

async fn who_has_grants_is_not_forgotten(world: World) {
    let approval = pending(&world, &id(1), 10).await;
    assert_eq!(
        world.storage.approve(&approval).await.unwrap(),
        Approve::Approved
    );
    let unused = document_client(&id(2));
    world.storage.create_client(&unused).await.unwrap();
    world.client("operators").await;
    let forget = async |before| {
        let storage = &world.storage;
        let forget = storage.delete_unused_document_clients(before, NOW + DAY, 10);
        forget.await.unwrap()
    };
    assert_eq!(forget(NOW - DAY).await, 0);
    assert_eq!(forget(NOW + DAY).await, 1);
    let ends = world
        .storage
        .revoke_grant(approval.grant.id, RevokeReason::ByPerson, NOW);
    ends.await.unwrap();
    assert_eq!(forget(NOW + DAY).await, 0, "the grant is kept for a while");
    crate::world::run(&world.url, "DELETE FROM grants")
        .await
        .unwrap();
    assert_eq!(forget(NOW + DAY).await, 1);
    assert_eq!(kept(&world).await.len(), 1);
}

async fn a_client_of_the_operators_is_not_taken_over(world: World) {
    let client = world.client(id(1).as_str()).await;
    let approval = pending(&world, &client, 10).await;
    assert_eq!(
        world.storage.approve(&approval).await.unwrap(),
        Approve::ClientsFull
    );
    let stored = world.storage.client(&client).await.unwrap().unwrap();
    assert!(!stored.from_document);
}
