//! The key set in the database: one row, changed by the one that read it last.

use aip_keys::Sealed;
use aip_storage::operations::SealedColumn;
use aip_storage::signing_keys::KEY_SET_ROW;

use crate::world::{World, at_once};

super::on_both_engines!(
    of_several_that_begin_a_key_set_one_does,
    of_several_that_change_a_key_set_one_does,
    a_key_set_is_sealed_again_without_a_new_generation,
);

fn sealed(text: &str) -> Sealed {
    Sealed::from_stored(text.to_owned())
}

async fn of_several_that_begin_a_key_set_one_does(world: World) {
    let storage = &world.storage;
    assert!(storage.signing_key_set().await.unwrap().is_none());
    assert!(
        !storage
            .replace_signing_key_set(1, &sealed("v1.a.x.y"))
            .await
            .unwrap()
    );
    let began = at_once(8, |number| {
        let storage = world.storage.clone();
        async move {
            let set = sealed(&format!("v1.a.{number}.y"));
            storage.begin_signing_key_set(&set).await.unwrap()
        }
    })
    .await;
    assert_eq!(began.iter().filter(|it| **it).count(), 1);
    let stored = storage.signing_key_set().await.unwrap().unwrap();
    assert_eq!(stored.generation, 1);
}

async fn of_several_that_change_a_key_set_one_does(world: World) {
    let storage = &world.storage;
    let first = sealed("v1.a.first.y");
    assert!(storage.begin_signing_key_set(&first).await.unwrap());
    for generation in 1..=3 {
        let changed = at_once(8, |number| {
            let storage = world.storage.clone();
            async move {
                let set = sealed(&format!("v1.a.{generation}-{number}.y"));
                let changed = storage.replace_signing_key_set(generation, &set);
                changed.await.unwrap().then_some(set)
            }
        })
        .await;
        let won: Vec<_> = changed.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        let stored = storage.signing_key_set().await.unwrap().unwrap();
        assert_eq!(stored.generation, generation + 1);
        assert_eq!(stored.sealed, won[0]);
    }
}

async fn a_key_set_is_sealed_again_without_a_new_generation(world: World) {
    let storage = &world.storage;
    let old = sealed("v1.a.x.y");
    assert!(storage.begin_signing_key_set(&old).await.unwrap());
    let column = SealedColumn::SigningKeys;
    assert_eq!(storage.count_sealed(column, "v1.a.").await.unwrap(), 1);
    let page = storage.sealed_with_other_keys(column, "v1.b.", "", 10);
    let page = page.await.unwrap();
    assert_eq!((page.len(), &*page[0].row), (1, KEY_SET_ROW));
    let fresh = sealed("v1.b.x.y");
    let values = [(page[0].clone(), fresh.clone())];
    assert_eq!(storage.reseal(column, &values).await.unwrap(), 1);
    let stored = storage.signing_key_set().await.unwrap().unwrap();
    assert_eq!((stored.generation, stored.sealed), (1, fresh));
}
