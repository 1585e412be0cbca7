//! The access tokens of clients themselves.

use crate::world::{HOUR, NOW, SECOND, World, measure, new_client_token, new_hash, public_client};

super::on_both_engines_and_behind_a_pooler!(
    a_token_of_a_client_comes_back_until_it_expires,
    a_token_of_a_client_is_revoked_by_that_client_alone,
    a_token_of_a_deleted_client_is_dead_even_under_the_same_id,
);

async fn a_token_of_a_client_comes_back_until_it_expires(world: World) {
    let client = world.client("app").await;
    let (hash, token) = (new_hash(), new_client_token(&client));
    let (stored, used) = measure(world.storage.put_client_token(&hash, &token)).await;
    stored.unwrap();
    assert_eq!(used.statements, 1);
    let at = async |now| world.storage.client_token(&hash, now).await.unwrap();
    assert_eq!(at(NOW).await, Some(token.clone()));
    assert_eq!(at(NOW + HOUR).await, None);
    let unknown = world.storage.client_token(&new_hash(), NOW).await;
    assert_eq!(unknown.unwrap(), None);
    // Nobody takes it for that of a person.
    let of_a_person = world.storage.access_token(&hash, NOW).await.unwrap();
    assert!(of_a_person.is_none());
}

async fn a_token_of_a_client_is_revoked_by_that_client_alone(world: World) {
    let (client, other) = (world.client("app").await, world.client("other").await);
    let hash = new_hash();
    let token = new_client_token(&client);
    world.storage.put_client_token(&hash, &token).await.unwrap();
    let revoke = async |client| {
        let revoked = world.storage.revoke_client_token(&hash, client);
        revoked.await.unwrap()
    };
    assert!(!revoke(&other).await);
    assert!(revoke(&client).await);
    assert!(!revoke(&client).await);
    let found = world.storage.client_token(&hash, NOW).await.unwrap();
    assert_eq!(found, None);
}

async fn a_token_of_a_deleted_client_is_dead_even_under_the_same_id(world: World) {
    let client = world.client("app").await;
    let hash = new_hash();
    let token = new_client_token(&client);
    world.storage.put_client_token(&hash, &token).await.unwrap();
    world.storage.delete_client(&client, NOW).await.unwrap();
    let found = async || {
        world
            .storage
            .client_token(&hash, NOW + SECOND)
            .await
            .unwrap()
    };
    assert_eq!(found().await, None);
    let mut anew = public_client("app");
    anew.created_at = NOW + SECOND;
    world.storage.create_client(&anew).await.unwrap();
    assert_eq!(found().await, None);
}
