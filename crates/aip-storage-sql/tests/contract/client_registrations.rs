//! Clients that register themselves: as many as a token says and as there may be, each changed by
//! whoever has its token, and forgotten if nobody used it.

use std::sync::Arc;

use aip_base::Timestamp;
use aip_keys::TokenHash;
use aip_storage::client::{Client, ClientAuthMethod};
use aip_storage::client_registration::{
    Admission, ChangeRegistration, ChangedRegistration, InitialAccessToken, NewRegistration,
    RegisterClient,
};
use aip_storage::grant::{Approve, RevokeReason};

use crate::world::{DAY, HOUR, NOW, World, alice, at_once, new_hash, new_id, public_client};

super::on_both_engines_and_behind_a_pooler!(
    of_fifty_registrations_with_a_token_for_three_three_succeed,
    a_token_is_taken_for_its_time_and_until_it_is_taken_back,
    of_fifty_registrations_there_are_no_more_than_the_limit,
    of_fifty_changes_with_one_token_one_counts,
    a_registration_is_its_clients_own,
    a_change_keeps_the_secret_or_replaces_it,
    a_change_writes_over_no_other_change,
    a_change_forgets_the_consents_of_that_client_if_it_says_so,
    of_fifty_deletions_with_one_token_one_counts,
    a_deletion_with_a_spent_token_deletes_nothing,
    who_is_never_used_is_forgotten_and_nobody_else,
    who_is_allowed_something_just_then_is_not_forgotten,
);

fn initial_token(uses_left: u32) -> InitialAccessToken {
    InitialAccessToken {
        id: new_id(),
        token: new_hash(),
        uses_left,
        created_at: NOW,
        expires_at: NOW + DAY,
    }
}

fn registration(id: &str, admission: Admission) -> NewRegistration {
    NewRegistration {
        client: Client {
            registered_itself: true,
            ..public_client(id)
        },
        token: new_hash(),
        admission,
        max_clients: 1000,
        unused_until: NOW + DAY,
        now: NOW,
    }
}

async fn register(world: &World, registration: &NewRegistration) -> RegisterClient {
    let outcome = world.storage.register_client(registration).await;
    outcome.unwrap()
}

async fn change(world: &World, client: &Client, token: TokenHash, next: TokenHash) -> bool {
    let change = ChangedRegistration {
        client: client.clone(),
        read_at: NOW,
        replaces_secret: false,
        forgets_consents: false,
        token,
        next_token: next,
    };
    is_changed(world, &change).await
}

async fn is_changed(world: &World, change: &ChangedRegistration) -> bool {
    match world.storage.change_registration(change).await.unwrap() {
        ChangeRegistration::Changed => true,
        ChangeRegistration::Refused => false,
        ChangeRegistration::ChangedMeanwhile => panic!("nobody else changed it"),
    }
}

async fn of_fifty_registrations_with_a_token_for_three_three_succeed(world: World) {
    let token = initial_token(3);
    world.storage.put_initial_token(&token).await.unwrap();
    let world = Arc::new(world);
    let outcomes = at_once(50, |n| {
        let world = Arc::clone(&world);
        let admission = Admission::Token(token.token);
        async move { register(&world, &registration(&format!("app-{n}"), admission)).await }
    })
    .await;
    let count = |wanted| outcomes.iter().filter(|it| **it == wanted).count();
    assert_eq!(count(RegisterClient::Registered), 3);
    assert_eq!(count(RegisterClient::NotAdmitted), 47);
    assert_eq!(world.storage.list_clients().await.unwrap().len(), 3);
    let left = world.storage.initial_tokens().await.unwrap();
    assert_eq!((left.len(), left[0].uses_left), (1, 0));
    assert!(!world.storage.admits(&token.token, NOW).await.unwrap());
}

async fn a_token_is_taken_for_its_time_and_until_it_is_taken_back(world: World) {
    let storage = &world.storage;
    let (expires, taken_back) = (initial_token(9), initial_token(9));
    for token in [&expires, &taken_back] {
        storage.put_initial_token(token).await.unwrap();
        assert!(storage.admits(&token.token, NOW).await.unwrap());
    }
    assert_eq!(
        storage.initial_tokens().await.unwrap().len(),
        2,
        "and no more"
    );
    assert!(storage.delete_initial_token(taken_back.id).await.unwrap());
    assert!(!storage.delete_initial_token(taken_back.id).await.unwrap());
    let late = NewRegistration {
        now: expires.expires_at,
        ..registration("late", Admission::Token(expires.token))
    };
    let without = registration("without", Admission::Token(taken_back.token));
    let unknown = registration("unknown", Admission::Token(new_hash()));
    for refused in [late, without, unknown] {
        assert_eq!(
            register(&world, &refused).await,
            RegisterClient::NotAdmitted
        );
        let Admission::Token(token) = refused.admission else {
            panic!("{refused:?}");
        };
        assert!(!storage.admits(&token, refused.now).await.unwrap());
    }
    assert!(storage.list_clients().await.unwrap().is_empty());
    let left = storage.initial_tokens().await.unwrap();
    assert_eq!(left, [expires], "nothing was spent");
}

async fn of_fifty_registrations_there_are_no_more_than_the_limit(world: World) {
    // The operator's own do not count.
    world.client("operators").await;
    let world = Arc::new(world);
    let outcomes = at_once(50, |n| {
        let world = Arc::clone(&world);
        async move {
            let registration = NewRegistration {
                max_clients: 5,
                ..registration(&format!("app-{n}"), Admission::Open)
            };
            register(&world, &registration).await
        }
    })
    .await;
    let count = |wanted| outcomes.iter().filter(|it| **it == wanted).count();
    assert_eq!(count(RegisterClient::Registered), 5);
    assert_eq!(count(RegisterClient::Full), 45);
    assert_eq!(world.storage.list_clients().await.unwrap().len(), 6);

    let token = initial_token(1);
    world.storage.put_initial_token(&token).await.unwrap();
    let full = NewRegistration {
        max_clients: 5,
        ..registration("one-more", Admission::Token(token.token))
    };
    assert_eq!(register(&world, &full).await, RegisterClient::Full);
    assert!(world.storage.admits(&token.token, NOW).await.unwrap());
    let same_id = registration("operators", Admission::Token(token.token));
    assert_eq!(register(&world, &same_id).await, RegisterClient::Exists);
    assert!(world.storage.admits(&token.token, NOW).await.unwrap());
}

async fn of_fifty_changes_with_one_token_one_counts(world: World) {
    let registered = registration("app", Admission::Open);
    register(&world, &registered).await;
    let world = Arc::new(world);
    let changes = at_once(50, |n| {
        let world = Arc::clone(&world);
        let mut client = registered.client.clone();
        client.settings.name = format!("Name {n}");
        async move {
            let next = new_hash();
            let counts = change(&world, &client, registered.token, next).await;
            counts.then_some((client.settings.name, next))
        }
    })
    .await;
    let counted: Vec<_> = changes.into_iter().flatten().collect();
    let [(name, next)] = counted.as_slice() else {
        panic!("{} of 50", counted.len());
    };
    let own = world.storage.own_registration(&registered.client.id, next);
    assert_eq!(&own.await.unwrap().unwrap().settings.name, name);
}

async fn a_registration_is_its_clients_own(world: World) {
    let (one, other) = (
        registration("one", Admission::Open),
        registration("other", Admission::Open),
    );
    register(&world, &one).await;
    register(&world, &other).await;
    let operators = world.client("operators").await;
    let storage = &world.storage;
    let own = storage.own_registration(&one.client.id, &one.token).await;
    assert_eq!(own.unwrap().unwrap().id, one.client.id);
    for (id, token) in [
        (&one.client.id, &other.token),
        (&operators, &one.token),
        (&one.client.id, &new_hash()),
    ] {
        let refused = storage.own_registration(id, token).await.unwrap();
        assert!(refused.is_none(), "{id}");
    }
    let mut renamed = one.client.clone();
    "Renamed".clone_into(&mut renamed.settings.name);
    assert!(!change(&world, &renamed, other.token, new_hash()).await);
    let unchanged = storage.client(&one.client.id).await.unwrap().unwrap();
    assert_eq!(unchanged.settings.name, one.client.settings.name);

    assert!(storage.delete_client(&one.client.id, NOW).await.unwrap());
    let gone = storage.own_registration(&one.client.id, &one.token).await;
    assert!(gone.unwrap().is_none());
}

async fn a_change_keeps_the_secret_or_replaces_it(world: World) {
    let mut registered = registration("app", Admission::Open);
    let client = &mut registered.client;
    client.settings.auth_method = ClientAuthMethod::SecretBasic;
    client.secret_hash = Some(new_hash());
    register(&world, &registered).await;
    let mut client = registered.client.clone();
    let mut token = registered.token;
    for replaces_secret in [false, true] {
        let other = new_hash();
        client.secret_hash = Some(other);
        let next_token = new_hash();
        let change = ChangedRegistration {
            client: client.clone(),
            read_at: NOW,
            replaces_secret,
            forgets_consents: false,
            token,
            next_token,
        };
        assert!(is_changed(&world, &change).await);
        token = next_token;
        let stored = world.storage.client(&client.id).await.unwrap().unwrap();
        assert_eq!(stored.secret_hash == Some(other), replaces_secret);
    }
}

async fn a_change_writes_over_no_other_change(world: World) {
    let registered = registration("app", Admission::Open);
    register(&world, &registered).await;
    let id = registered.client.id.clone();
    let stored = async || world.storage.client(&id).await.unwrap().unwrap();
    let mut token = registered.token;
    for round in 1..=3_u32 {
        let read = stored().await;
        // The operator changes it after the client was read for the change.
        let mut operators = read.clone();
        operators.settings.require_par = !read.settings.require_par;
        operators.updated_at = NOW + HOUR * round;
        let update = async |client| {
            let read_at = read.updated_at;
            let update = world.storage.update_client_as_read(client, read_at);
            update.await.unwrap()
        };
        assert!(update(&operators).await);
        assert!(!update(&read).await, "it is not what was read any more");
        let mut change = ChangedRegistration {
            client: read.clone(),
            read_at: read.updated_at,
            replaces_secret: false,
            forgets_consents: true,
            token,
            next_token: new_hash(),
        };
        change.client.settings.name = format!("Renamed {round}");
        change.client.updated_at = operators.updated_at + HOUR / 2;
        for _ in 0..2 {
            let outcome = world.storage.change_registration(&change).await.unwrap();
            assert_eq!(outcome, ChangeRegistration::ChangedMeanwhile);
        }
        let after = stored().await;
        assert_eq!(after.settings, operators.settings);
        assert_eq!(after.updated_at, operators.updated_at);
        // The token is not spent: the change can be made anew, with both.
        change.client.settings.require_par = after.settings.require_par;
        change.read_at = after.updated_at;
        assert!(is_changed(&world, &change).await);
        assert_eq!(stored().await.settings, change.client.settings);
        token = change.next_token;
    }
    // Of several that were made from the same state one counts.
    let read = stored().await;
    let secrets: Vec<_> = (0..10).map(|_| new_hash()).collect();
    let outcomes = at_once(10, |n| {
        let storage = Arc::clone(&world.storage);
        let mut client = read.clone();
        client.settings.name = format!("Of {n}");
        client.updated_at = read.updated_at + HOUR;
        let change = ChangedRegistration {
            client,
            read_at: read.updated_at,
            replaces_secret: false,
            forgets_consents: false,
            token,
            next_token: secrets[n],
        };
        async move { storage.change_registration(&change).await.unwrap() }
    });
    let changed = outcomes.await;
    let changed = changed
        .iter()
        .filter(|it| **it == ChangeRegistration::Changed);
    assert_eq!(changed.count(), 1);
}

async fn a_change_forgets_the_consents_of_that_client_if_it_says_so(world: World) {
    let (one, other) = (
        registration("one", Admission::Open),
        registration("other", Admission::Open),
    );
    let mut browsers = Vec::new();
    for registration in [&one, &other] {
        register(&world, registration).await;
        let id = &registration.client.id;
        browsers.push((world.approved(id, &alice()).await.browser, id));
    }
    let consents = async || {
        let mut found = Vec::new();
        for (browser, id) in &browsers {
            let consent = world.storage.consent(*browser, id, &alice()).await;
            found.push(consent.unwrap().is_some());
        }
        found
    };
    let mut token = one.token;
    for (forgets_consents, presented, expected) in [
        (false, None, [true, true]),
        (true, Some(new_hash()), [true, true]),
        (true, None, [false, true]),
    ] {
        let next_token = new_hash();
        let change = ChangedRegistration {
            client: one.client.clone(),
            read_at: NOW,
            replaces_secret: false,
            forgets_consents,
            token: presented.unwrap_or(token),
            next_token,
        };
        let changed = is_changed(&world, &change).await;
        assert_eq!(changed, presented.is_none());
        if changed {
            token = next_token;
        }
        assert_eq!(consents().await, expected);
    }
}

async fn of_fifty_deletions_with_one_token_one_counts(world: World) {
    let registered = registration("app", Admission::Open);
    register(&world, &registered).await;
    let world = Arc::new(world);
    let outcomes = at_once(50, |_| {
        let world = Arc::clone(&world);
        let (id, token) = (registered.client.id.clone(), registered.token);
        async move {
            let deletion = world.storage.delete_registration(&id, &token, NOW);
            deletion.await.unwrap()
        }
    })
    .await;
    assert_eq!(outcomes.into_iter().filter(|it| *it).count(), 1);
    assert!(world.storage.list_clients().await.unwrap().is_empty());
}

async fn a_deletion_with_a_spent_token_deletes_nothing(world: World) {
    let registered = registration("app", Admission::Open);
    register(&world, &registered).await;
    let id = &registered.client.id;
    world.approved(id, &alice()).await;
    let next = new_hash();
    assert!(change(&world, &registered.client, registered.token, next).await);
    let storage = &world.storage;
    let operators = world.client("operators").await;
    for (id, token) in [(id, registered.token), (id, new_hash()), (&operators, next)] {
        let deleted = storage.delete_registration(id, &token, NOW).await;
        assert!(!deleted.unwrap(), "{id}");
    }
    assert_eq!(storage.list_clients().await.unwrap().len(), 2);
    let own = storage.own_registration(id, &next).await.unwrap();
    assert!(own.is_some(), "the registration is there, too");
    assert!(storage.delete_registration(id, &next, NOW).await.unwrap());
    assert_eq!(storage.list_clients().await.unwrap().len(), 1);
}

async fn who_is_allowed_something_just_then_is_not_forgotten(world: World) {
    let mut approvals = Vec::new();
    for n in 0..20 {
        let registration = registration(&format!("app-{n}"), Admission::Open);
        register(&world, &registration).await;
        let id = registration.client.id;
        let session = world.session(&id, &alice()).await;
        approvals.push(world.pending(&id, &alice(), session.id).await);
    }
    let approvals = Arc::new(approvals);
    let world = Arc::new(world);
    let approved = at_once(40, |n| {
        let (world, approvals) = (Arc::clone(&world), Arc::clone(&approvals));
        async move {
            if n % 2 == 0 {
                let forgotten = world.storage.delete_unused_clients(NOW + DAY, 3);
                forgotten.await.unwrap();
                return None;
            }
            let approval = &approvals[n / 2];
            let outcome = world.storage.approve(approval).await;
            let id = approval.grant.client_id.clone();
            (outcome.unwrap() == Approve::Approved).then_some(id)
        }
    })
    .await;
    let mut kept: Vec<_> = approved.into_iter().flatten().collect();
    kept.sort();
    let forget = world.storage.delete_unused_clients(NOW + DAY, 100);
    forget.await.unwrap();
    let clients = world.storage.list_clients().await.unwrap();
    let clients: Vec<_> = clients.into_iter().map(|it| it.id).collect();
    assert_eq!(clients, kept, "who was allowed something, and nobody else");
}

async fn who_is_never_used_is_forgotten_and_nobody_else(world: World) {
    let operators = world.client("operators").await;
    let storage = &world.storage;
    for id in ["unused", "used", "young"] {
        let registration = NewRegistration {
            unused_until: if id == "young" {
                NOW + DAY * 2
            } else {
                NOW + DAY
            },
            ..registration(id, Admission::Open)
        };
        register(&world, &registration).await;
    }
    let used = "used".parse().unwrap();
    let (grant, _) = world.redeemed(&used, &alice()).await;

    let forget = |now: Timestamp| storage.delete_unused_clients(now, 100);
    assert_eq!(forget(NOW + DAY - HOUR).await.unwrap(), 0);
    assert_eq!(forget(NOW + DAY).await.unwrap(), 1);
    let ids = || async {
        let clients = storage.list_clients().await.unwrap();
        clients
            .iter()
            .map(|it| it.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids().await, [operators.as_str(), "used", "young"]);
    // It was used once: it stays, also when its grants are forgotten.
    let ends = storage.revoke_grant(grant.id, RevokeReason::ByPerson, NOW);
    ends.await.unwrap();
    let purge = "DELETE FROM grants";
    crate::world::run(&world.url, purge).await.unwrap();
    assert_eq!(forget(NOW + DAY * 3).await.unwrap(), 1);
    assert_eq!(ids().await, [operators.as_str(), "used"]);
}
