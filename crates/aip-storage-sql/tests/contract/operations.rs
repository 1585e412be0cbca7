//! What an operator's commands ask.

use aip_keys::Sealed;
use aip_storage::operations::{KeyCheck, SealedColumn};
use strum::IntoEnumIterator as _;

use crate::world::{NOW, SECOND, World, alice, credential, new_hash, new_session};

super::on_both_engines!(
    the_first_key_check_stays_and_is_renewed_by_its_old_value_only,
    a_session_counts_for_its_key_until_its_pds_knows_that_it_ended,
    values_sealed_otherwise_are_paged_and_replaced_unless_written_meanwhile,
    the_clock_of_the_database_is_read,
);

fn sealed(text: &str) -> Sealed {
    Sealed::from_stored(text.to_owned())
}

async fn the_first_key_check_stays_and_is_renewed_by_its_old_value_only(world: World) {
    let storage = &world.storage;
    assert!(storage.key_check().await.unwrap().is_none());
    for (text, first) in [("v1.a.one", true), ("v1.b.two", false)] {
        let check = KeyCheck {
            sealed: sealed(text),
            pepper: new_hash(),
        };
        assert_eq!(storage.begin_key_check(&check).await.unwrap(), first);
    }
    let stored = storage.key_check().await.unwrap().unwrap();
    assert_eq!(stored.sealed, sealed("v1.a.one"));

    let fresh = sealed("v1.c.three");
    let renew = async |old: &str| storage.renew_key_check(&sealed(old), &fresh).await.unwrap();
    assert!(!renew("v1.b.two").await);
    assert!(renew("v1.a.one").await);
    assert!(!renew("v1.a.one").await);
    let stored = storage.key_check().await.unwrap().unwrap();
    assert_eq!(stored.sealed, fresh);
}

async fn a_session_counts_for_its_key_until_its_pds_knows_that_it_ended(world: World) {
    let client = world.client("app").await;
    let mut ids = Vec::new();
    for kid in [Some("old"), Some("old"), Some("new"), None] {
        let mut session = new_session(&client, &alice());
        session.credential = credential(kid, "dpop key");
        world
            .storage
            .create_upstream_session(&session)
            .await
            .unwrap();
        ids.push(session.id);
    }
    let uses = async || {
        let uses = world.storage.client_key_uses().await.unwrap();
        let told = uses.iter().map(|it| format!("{} {}", it.kid, it.sessions));
        told.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(uses().await, "new 1, old 2");
    let later = NOW + SECOND;
    let mut newest = new_session(&client, &alice());
    newest.credential = credential(Some("new"), "dpop key");
    newest.created_at = later;
    world
        .storage
        .create_upstream_session(&newest)
        .await
        .unwrap();
    let began = world.storage.client_key_uses().await.unwrap();
    let began: Vec<_> = began.iter().map(|it| it.newest_began_at).collect();
    assert_eq!(began, [later, NOW]);
    let over = aip_storage::upstream::EndReason::Abandoned;
    world
        .storage
        .end_unused_session(newest.id, over, NOW)
        .await
        .unwrap();
    world.storage.revocation_done(newest.id).await.unwrap();

    let over = aip_storage::upstream::EndReason::Abandoned;
    let ended = world.storage.end_unused_session(ids[0], over, NOW).await;
    assert!(ended.unwrap());
    assert_eq!(uses().await, "new 1, old 2");
    world.storage.revocation_done(ids[0]).await.unwrap();
    assert_eq!(uses().await, "new 1, old 1");
}

async fn values_sealed_otherwise_are_paged_and_replaced_unless_written_meanwhile(world: World) {
    let client = world.client("app").await;
    let mut rows = Vec::new();
    for key in ["a", "a", "b", "a"] {
        let mut session = new_session(&client, &alice());
        session.credential = credential(None, &format!("v1.{key}.x.y"));
        session.tokens.refresh = None;
        world
            .storage
            .create_upstream_session(&session)
            .await
            .unwrap();
        rows.push((key, session.id.to_string()));
    }
    let mut old: Vec<_> = rows.iter().filter(|(key, _)| *key == "a").collect();
    old.sort_by_key(|(_, row)| row);
    let column = SealedColumn::DpopKey;
    let counts = async || {
        let mut counts = Vec::new();
        for prefix in [Sealed::PREFIX, "v1.a.", "v1.b."] {
            counts.push(world.storage.count_sealed(column, prefix).await.unwrap());
        }
        counts
    };
    assert_eq!(counts().await, [4, 3, 1]);
    let page = async |after: &str| {
        let page = world
            .storage
            .sealed_with_other_keys(column, "v1.b.", after, 2);
        page.await.unwrap()
    };
    let first = page("").await;
    let second = page(&first[1].row).await;
    let seen: Vec<&str> = first.iter().chain(&second).map(|it| &*it.row).collect();
    assert_eq!(seen, old.iter().map(|(_, row)| &**row).collect::<Vec<_>>());

    let fresh = sealed("v1.b.x.z");
    let values = first.iter().map(|old| (old.clone(), fresh.clone()));
    let values: Vec<_> = values.collect();
    let reseal = async || world.storage.reseal(column, &values).await.unwrap();
    assert_eq!(reseal().await, 2);
    assert_eq!(reseal().await, 0);
    assert_eq!(counts().await, [4, 1, 3]);

    for column in SealedColumn::iter() {
        let any = world.storage.sample_sealed_value(column).await.unwrap();
        let there = matches!(column, SealedColumn::DpopKey | SealedColumn::AccessToken);
        assert_eq!(any.is_some(), there, "{column:?}");
    }
}

async fn the_clock_of_the_database_is_read(world: World) {
    let read = world.storage.database_time(NOW).await.unwrap();
    if world.database.engine() == "sqlite" {
        assert_eq!(read, NOW);
    } else {
        let again = world.storage.database_time(NOW).await.unwrap();
        assert!(again >= read && again < read + 60 * SECOND);
    }
}
