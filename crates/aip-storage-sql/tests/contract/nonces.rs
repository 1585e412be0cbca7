//! Nonces shared between replicas: the newest one of each server and role.

use aip_base::Timestamp;
use aip_storage::nonces::{ReceivedNonce, ServerRole};

use crate::world::{NOW, SECOND, World, at_once, origin};

super::on_both_engines!(
    the_newest_nonce_stays_whatever_the_order_of_arrival,
    a_shared_nonce_stays_with_its_role_and_origin,
);

async fn the_newest_nonce_stays_whatever_the_order_of_arrival(world: World) {
    let server = origin("https://pds.example");
    at_once(8, |n| {
        let (nonces, server) = (world.database.shared_nonces(), server.clone());
        // The newest is neither the first nor the last to be offered.
        let age = u32::try_from(n).unwrap() * 3 % 8;
        async move {
            let given = given(&format!("nonce-{age}"), NOW - age * SECOND);
            nonces
                .offer_nonce(ServerRole::Resource, &server, &given)
                .await
                .unwrap();
        }
    })
    .await;

    let newest = world
        .database
        .shared_nonces()
        .newest_nonce(ServerRole::Resource, &server)
        .await
        .unwrap();
    assert_eq!(newest, Some(given("nonce-0", NOW)));
}

async fn a_shared_nonce_stays_with_its_role_and_origin(world: World) {
    let nonces = world.database.shared_nonces();
    let (one, two) = (origin("https://one.example"), origin("https://two.example"));
    let of_one = given("nonce of one", NOW);
    nonces
        .offer_nonce(ServerRole::Authorization, &one, &of_one)
        .await
        .unwrap();

    for (role, server, expected) in [
        (ServerRole::Authorization, &one, Some(of_one)),
        (ServerRole::Resource, &one, None),
        (ServerRole::Authorization, &two, None),
    ] {
        assert_eq!(
            nonces.newest_nonce(role, server).await.unwrap(),
            expected,
            "{role:?} {server}"
        );
    }
}

fn given(nonce: &str, at: Timestamp) -> ReceivedNonce {
    ReceivedNonce {
        nonce: nonce.to_owned(),
        at,
    }
}
