//! The replay guard.

use std::sync::Arc;

use aip_storage::replay::Claim;

use crate::world::{MINUTE, NOW, World, at_once, new_hash};

super::on_both_engines_and_behind_a_pooler!(
    a_value_is_fresh_once_however_many_claim_it,
    a_claim_is_forgotten_after_its_time,
);

async fn a_value_is_fresh_once_however_many_claim_it(world: World) {
    let (key, other) = (new_hash(), new_hash());

    let claims = at_once(8, |_| {
        let storage = Arc::clone(&world.storage);
        async move { storage.claim_once(&key, NOW + MINUTE).await.unwrap() }
    })
    .await;

    assert_eq!(
        claims.iter().filter(|it| **it == Claim::Fresh).count(),
        1,
        "{claims:?}"
    );
    assert_eq!(
        world
            .storage
            .claim_once(&other, NOW + MINUTE)
            .await
            .unwrap(),
        Claim::Fresh
    );
}

async fn a_claim_is_forgotten_after_its_time(world: World) {
    let key = new_hash();
    let until = NOW + MINUTE;
    world.storage.claim_once(&key, until).await.unwrap();

    world.storage.purge_expired(NOW, 10).await.unwrap();
    assert_eq!(
        world.storage.claim_once(&key, until).await.unwrap(),
        Claim::Seen
    );
    world.storage.purge_expired(until, 10).await.unwrap();
    assert_eq!(
        world.storage.claim_once(&key, until).await.unwrap(),
        Claim::Fresh
    );
}
