//! Clients that are known by a document: kept with the first approval, forgotten with the last grant.

use std::sync::Arc;

use aip_atproto::Did;
use aip_storage::audit::AuditKind;
use aip_storage::client::{Client, ClientId};
use aip_storage::grant::{Approval, Approve, DocumentClient, RevokeReason};
use aip_storage::upstream::EndReason;

use crate::on_both_engines;
use crate::world::{DAY, NOW, World, alice, at_once, bob, new_event, public_client};

on_both_engines!(
    a_client_is_kept_with_its_first_approval,
    no_more_are_kept_than_may_be_and_a_refusal_changes_nothing,
    of_one_site_no_more_are_kept_than_its_share,
    of_one_account_no_more_are_kept_than_its_share,
    one_account_leaves_places_of_a_site_to_others,
    a_client_that_nobody_allows_any_more_gives_its_place_up,
    of_fifty_first_approvals_each_is_given_and_one_client_kept,
    who_is_allowed_something_just_then_is_not_forgotten,
    who_has_grants_is_not_forgotten,
    a_client_of_the_operators_is_not_taken_over,
    what_a_document_says_is_written_to_its_own_client_alone,
);

fn document_client(id: &ClientId) -> Client {
    Client {
        from_document: true,
        document_holds_until: Some(NOW + DAY),
        ..public_client(id.as_str())
    }
}

/// A yes, in a browser of its own, to a client that is known by a document, of which so many may be kept.
pub(crate) async fn pending(world: &World, id: &ClientId, max_clients: u64) -> Approval {
    pending_of(world, id, &alice(), max_clients).await
}

async fn pending_of(world: &World, id: &ClientId, did: &Did, max_clients: u64) -> Approval {
    let session = world.session(id, did).await;
    Approval {
        client_from_document: Some(DocumentClient {
            client: document_client(id),
            max_clients,
            site: "https://app.example/".to_owned(),
            max_clients_of_site: 1000,
            max_clients_of_account: 1000,
            max_clients_of_account_at_site: 1000,
        }),
        ..world.pending(id, did, session.id).await
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
    assert_eq!(stored.document_holds_until, Some(NOW + DAY));

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

async fn of_one_site_no_more_are_kept_than_its_share(world: World) {
    let approve = async |id: &str, site: &str| {
        let mut approval = pending(&world, &id.parse().unwrap(), 100).await;
        let document = approval.client_from_document.as_mut().unwrap();
        site.clone_into(&mut document.site);
        document.max_clients_of_site = 2;
        world.storage.approve(&approval).await.unwrap()
    };
    for (id, site, outcome) in [
        (
            "https://a.example/1",
            "https://a.example/",
            Approve::Approved,
        ),
        (
            "https://a.example/2",
            "https://a.example/",
            Approve::Approved,
        ),
        (
            "https://a.example/3",
            "https://a.example/",
            Approve::ClientsFull,
        ),
        // Hosts whose names are alike.
        (
            "https://a.example.org/1",
            "https://a.example.org/",
            Approve::Approved,
        ),
        (
            "https://aa.example/1",
            "https://aa.example/",
            Approve::Approved,
        ),
        (
            "https://_.example/1",
            "https://_.example/",
            Approve::Approved,
        ),
        (
            "https://_.example/2",
            "https://_.example/",
            Approve::Approved,
        ),
        // Who is kept goes on.
        (
            "https://a.example/1",
            "https://a.example/",
            Approve::Approved,
        ),
    ] {
        assert_eq!(approve(id, site).await, outcome, "{id}");
    }
    assert_eq!(kept(&world).await.len(), 6);
}

async fn of_one_account_no_more_are_kept_than_its_share(world: World) {
    let approve = async |n: usize, did: &Did| {
        let mut approval = pending_of(&world, &id(n), did, 100).await;
        let document = approval.client_from_document.as_mut().unwrap();
        document.max_clients_of_account = 2;
        world.storage.approve(&approval).await.unwrap()
    };
    for (n, did, outcome) in [
        (1, alice(), Approve::Approved),
        (2, alice(), Approve::Approved),
        (3, alice(), Approve::ClientsFull),
        (3, bob(), Approve::Approved),
        // It is not new any more.
        (3, alice(), Approve::Approved),
        (4, bob(), Approve::Approved),
        (5, bob(), Approve::ClientsFull),
    ] {
        assert_eq!(approve(n, &did).await, outcome, "{n} {did}");
    }
    assert_eq!(kept(&world).await.len(), 4);
}

async fn one_account_leaves_places_of_a_site_to_others(world: World) {
    const SITES: [&str; 2] = ["https://app.example/", "https://other.example/"];
    let approval = async |site: &str, n: usize, did: &Did| {
        let id = format!("{site}{n}.json").parse().unwrap();
        let mut approval = pending_of(&world, &id, did, 100).await;
        let document = approval.client_from_document.as_mut().unwrap();
        site.clone_into(&mut document.site);
        document.max_clients_of_site = 5;
        document.max_clients_of_account_at_site = 2;
        approval
    };
    let approve = async |site: &str, n: usize, did: &Did| {
        let approval = approval(site, n, did).await;
        let outcome = world.storage.approve(&approval).await.unwrap();
        (outcome, approval.grant.id)
    };
    let mut first = None;
    for (site, n, did, outcome) in [
        (SITES[0], 1, alice(), Approve::Approved),
        (SITES[0], 2, alice(), Approve::Approved),
        (SITES[0], 3, alice(), Approve::ClientsFull),
        (SITES[0], 3, bob(), Approve::Approved),
        // It is not new any more, and counts for her as well.
        (SITES[0], 3, alice(), Approve::Approved),
        (SITES[0], 4, alice(), Approve::ClientsFull),
        (SITES[0], 4, bob(), Approve::Approved),
        (SITES[0], 5, bob(), Approve::ClientsFull),
        (SITES[1], 1, alice(), Approve::Approved),
    ] {
        let (found, grant) = approve(site, n, &did).await;
        assert_eq!(found, outcome, "{site}{n} {did}");
        first.get_or_insert(grant);
    }
    // What she has taken back does not count.
    for (grant, expected) in [(None, Approve::ClientsFull), (first, Approve::ClientsFull)] {
        if let Some(grant) = grant {
            let reason = RevokeReason::ByPerson;
            world
                .storage
                .revoke_grant(grant, reason, NOW)
                .await
                .unwrap();
        }
        assert_eq!(approve(SITES[0], 6, &alice()).await.0, expected);
    }
    let (third, did, reason) = (id(3), alice(), RevokeReason::ByPerson);
    let ends = world.storage.revoke_client_grants(
        &third,
        &did,
        reason,
        NOW,
        new_event(AuditKind::GrantRevoked, &alice()),
    );
    assert_eq!(ends.await.unwrap(), 1);
    assert_eq!(approve(SITES[0], 6, &alice()).await.0, Approve::Approved);
}

async fn a_client_that_nobody_allows_any_more_gives_its_place_up(world: World) {
    let approve = async |n: usize| {
        let mut approval = pending(&world, &id(n), 4).await;
        let document = approval.client_from_document.as_mut().unwrap();
        document.max_clients_of_site = 3;
        let outcome = world.storage.approve(&approval).await.unwrap();
        (outcome, approval.grant.id)
    };
    let elsewhere = "https://elsewhere.example/1.json".parse().unwrap();
    let other = pending(&world, &elsewhere, 4).await;
    assert_eq!(
        world.storage.approve(&other).await.unwrap(),
        Approve::Approved
    );
    let mut grants = Vec::new();
    for n in 1..=3 {
        let (outcome, grant) = approve(n).await;
        assert_eq!(outcome, Approve::Approved);
        grants.push(grant);
    }
    assert_eq!(approve(20).await.0, Approve::ClientsFull);
    // Whoever allows apps and takes that back, one after the other, has the place of one.
    let end = async |grant| {
        let reason = RevokeReason::ByPerson;
        world
            .storage
            .revoke_grant(grant, reason, NOW)
            .await
            .unwrap();
    };
    for n in 4..10 {
        end(grants.pop().unwrap()).await;
        let (outcome, grant) = approve(n).await;
        assert_eq!(outcome, Approve::Approved, "{n}");
        grants.push(grant);
        let kept = kept(&world).await;
        assert_eq!(kept.len(), 4, "{kept:?}");
        for id in [&id(1), &id(2), &id(n), &elsewhere] {
            assert!(kept.contains(id), "{id} of {kept:?}");
        }
    }
    // One of another site makes no room in this one.
    end(other.grant.id).await;
    assert_eq!(approve(10).await.0, Approve::ClientsFull);
    assert!(kept(&world).await.contains(&elsewhere));
    // One that is to be told of a logout stays until it is.
    end(grants.pop().unwrap()).await;
    crate::logouts::waiting(&world, id(9).as_str(), 1, NOW).await;
    assert_eq!(approve(10).await.0, Approve::ClientsFull);
    world.raw("DELETE FROM logout_deliveries").await;
    // One that somebody is at the sign-in of stays until they are done, and one with a session at a PDS.
    let coming_back = pending(&world, &id(9), 4).await;
    assert_eq!(approve(10).await.0, Approve::ClientsFull);
    let (session, reason) = (coming_back.grant.upstream_session, EndReason::ByOperator);
    let end = world.storage.end_upstream_session(session, reason, NOW);
    assert!(end.await.unwrap());
    assert_eq!(approve(10).await.0, Approve::ClientsFull);
    world.raw("DELETE FROM authorization_requests").await;
    assert_eq!(approve(10).await.0, Approve::Approved);
    assert!(!kept(&world).await.contains(&id(9)));
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
        Approve::RequestGone
    );
    let stored = world.storage.client(&client).await.unwrap().unwrap();
    assert!(!stored.from_document);
}

async fn what_a_document_says_is_written_to_its_own_client_alone(world: World) {
    let storage = &world.storage;
    let approval = pending(&world, &id(1), 10).await;
    assert_eq!(storage.approve(&approval).await.unwrap(), Approve::Approved);
    let mut changed = document_client(&id(1));
    "Renamed".clone_into(&mut changed.settings.name);
    changed.document_holds_until = Some(NOW + DAY * 3);
    changed.updated_at = NOW + DAY * 2;
    for (forgets_consents, is_allowed) in [(false, true), (true, false)] {
        let change = storage.change_document_client(&changed, forgets_consents);
        assert!(change.await.unwrap());
        let stored = storage.client(&id(1)).await.unwrap().unwrap();
        assert_eq!(stored.settings, changed.settings);
        assert_eq!(stored.document_holds_until, Some(NOW + DAY * 3));
        assert_eq!(stored.updated_at, NOW + DAY * 2);
        let consent = storage.consent(approval.browser, &id(1), &alice()).await;
        assert_eq!(consent.unwrap().is_some(), is_allowed);
    }
    storage.hold_document(&id(1), NOW).await.unwrap();
    let stored = storage.client(&id(1)).await.unwrap().unwrap();
    assert_eq!(stored.document_holds_until, Some(NOW));
    assert_eq!(stored.updated_at, NOW + DAY * 2);

    // The operator's are none of its business, nor is one that is not there, and the other way round.
    let operators = world.client(id(2).as_str()).await;
    for other in [
        document_client(&operators),
        public_client(operators.as_str()),
        document_client(&id(3)),
        public_client(id(1).as_str()),
    ] {
        let change = storage.change_document_client(&other, true);
        assert!(!change.await.unwrap(), "{other:?}");
    }
    storage.hold_document(&operators, NOW).await.unwrap();
    storage.hold_document(&id(3), NOW).await.unwrap();
    let stored = storage.client(&operators).await.unwrap().unwrap();
    assert!(!stored.from_document && stored.document_holds_until.is_none());
    assert_eq!(stored.settings, public_client(operators.as_str()).settings);
    assert!(storage.client(&id(3)).await.unwrap().is_none());
    let of_operators = public_client(id(1).as_str());
    assert!(!storage.update_client(&of_operators).await.unwrap());
}
