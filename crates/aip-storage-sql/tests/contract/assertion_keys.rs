//! The keys of devices that client assertions are signed for.

use std::sync::Arc;

use aip_base::Timestamp;
use aip_storage::assertion_key::{AssertingDevice, AssertionKey};
use aip_storage::client::ClientId;

use crate::world::{DAY, NOW, SECOND, World, at_once};

super::on_both_engines_and_behind_a_pooler!(
    a_device_stays_with_the_key_that_signed_for_it_first,
    of_fifty_first_requests_of_a_device_one_key_comes_out,
    the_device_that_asked_longest_ago_gives_way,
    a_client_that_is_deleted_meanwhile_has_no_devices,
    devices_of_a_key_that_is_lost_are_forgotten,
);

async fn ask(
    world: &World,
    client: &ClientId,
    jkt: &str,
    kid: &str,
    now: Timestamp,
) -> AssertionKey {
    let device = AssertingDevice {
        client_id: client.clone(),
        jkt: jkt.to_owned(),
        client_key_id: kid.to_owned(),
        now,
    };
    world.storage.use_assertion_key(&device, 3).await.unwrap()
}

fn known(kid: &str) -> AssertionKey {
    AssertionKey::Known(kid.to_owned())
}

async fn a_device_stays_with_the_key_that_signed_for_it_first(world: World) {
    let (app, other) = (world.client("app").await, world.client("other").await);
    assert_eq!(ask(&world, &app, "a", "k1", NOW).await, AssertionKey::New);
    // The same key at another app is another device.
    assert_eq!(ask(&world, &other, "a", "k2", NOW).await, AssertionKey::New);
    assert_eq!(ask(&world, &app, "b", "k2", NOW).await, AssertionKey::New);
    for (client, jkt, kid) in [(&app, "a", "k1"), (&other, "a", "k2"), (&app, "b", "k2")] {
        let later = NOW + SECOND;
        assert_eq!(ask(&world, client, jkt, "k3", later).await, known(kid));
    }
    // Keys that devices are bound to are in use.
    let uses = world.storage.client_key_uses().await.unwrap();
    let uses: Vec<_> = uses
        .iter()
        .map(|it| (it.kid.as_str(), it.sessions))
        .collect();
    assert_eq!(uses, [("k1", 1), ("k2", 2)]);

    assert!(world.storage.delete_client(&app, NOW).await.unwrap());
    let left = world.strings("SELECT client_id FROM assertion_keys").await;
    assert_eq!(left, ["other"]);
    let gone = ask(&world, &app, "a", "k1", NOW).await;
    assert_eq!(gone, AssertionKey::NoClient);

    // It is forgotten when no session of it can be left.
    let purge = async |now| world.storage.purge_expired(now, 100).await.unwrap();
    purge(NOW + 180 * DAY).await;
    assert_eq!(
        ask(&world, &other, "a", "k3", NOW + 180 * DAY).await,
        known("k2")
    );
    purge(NOW + 360 * DAY).await;
    let anew = ask(&world, &other, "a", "k3", NOW + 360 * DAY).await;
    assert_eq!(anew, AssertionKey::New);

    // Two years at most, however often it asks.
    let begin = NOW + 360 * DAY;
    for day in [170, 340, 510, 560, 689] {
        purge(begin + day * DAY).await;
        let asked = ask(&world, &other, "a", "k4", begin + day * DAY).await;
        assert_eq!(asked, known("k3"), "after {day} days");
    }
    purge(begin + 690 * DAY).await;
    let anew = ask(&world, &other, "a", "k4", begin + 690 * DAY).await;
    assert_eq!(anew, AssertionKey::New);
}

async fn of_fifty_first_requests_of_a_device_one_key_comes_out(world: World) {
    let app = world.client("app").await;
    let shared = Arc::new((world, app));
    let keys = at_once(50, |n| {
        let shared = Arc::clone(&shared);
        async move {
            let (world, app) = &*shared;
            let kid = format!("k{}", n % 2);
            match ask(world, app, "device", &kid, NOW).await {
                AssertionKey::New => kid,
                AssertionKey::Known(kid) => kid,
                AssertionKey::NoClient => panic!("no client"),
            }
        }
    });
    let mut keys = keys.await;
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

async fn the_device_that_asked_longest_ago_gives_way(world: World) {
    let app = world.client("app").await;
    for (n, jkt) in (0..).zip(["a", "b", "c"]) {
        ask(&world, &app, jkt, "k1", NOW + n * SECOND).await;
    }
    ask(&world, &app, "a", "k2", NOW + 5 * SECOND).await;
    ask(&world, &app, "d", "k2", NOW + 6 * SECOND).await;
    let mut kept = world.strings("SELECT jkt FROM assertion_keys").await;
    kept.sort_unstable();
    assert_eq!(kept, ["a", "c", "d"]);

    // Those that asked once come and go before one that came back.
    for (n, jkt) in (7..).zip(["e", "f", "g", "h"]) {
        ask(&world, &app, jkt, "k2", NOW + n * SECOND).await;
    }
    let mut kept = world.strings("SELECT jkt FROM assertion_keys").await;
    kept.sort_unstable();
    assert_eq!(kept, ["a", "g", "h"]);
}

async fn a_client_that_is_deleted_meanwhile_has_no_devices(world: World) {
    let app = world.client("app").await;
    let shared = Arc::new((world, app));
    at_once(20, |n| {
        let shared = Arc::clone(&shared);
        async move {
            let (world, app) = &*shared;
            if n == 10 {
                assert!(world.storage.delete_client(app, NOW).await.unwrap());
                return;
            }
            let device = AssertingDevice {
                client_id: app.clone(),
                jkt: format!("device {n}"),
                client_key_id: "k1".to_owned(),
                now: NOW,
            };
            world.storage.use_assertion_key(&device, 50).await.unwrap();
        }
    })
    .await;
    let (world, app) = &*shared;
    let left = world.strings("SELECT jkt FROM assertion_keys").await;
    assert_eq!(left, [""; 0]);
    let gone = ask(world, app, "device 0", "k1", NOW).await;
    assert_eq!(gone, AssertionKey::NoClient);
}

async fn devices_of_a_key_that_is_lost_are_forgotten(world: World) {
    let (app, other) = (world.client("app").await, world.client("other").await);
    for (client, jkt, kid) in [
        (&app, "a", "lost"),
        (&app, "b", "k1"),
        (&other, "a", "lost"),
    ] {
        assert_eq!(ask(&world, client, jkt, kid, NOW).await, AssertionKey::New);
    }
    let forget = async || world.storage.forget_assertion_keys("lost").await.unwrap();
    assert_eq!(forget().await, 2);
    assert_eq!(forget().await, 0);
    let uses = world.storage.client_key_uses().await.unwrap();
    let uses: Vec<_> = uses.iter().map(|it| it.kid.as_str()).collect();
    assert_eq!(uses, ["k1"]);
    assert_eq!(ask(&world, &app, "a", "k2", NOW).await, AssertionKey::New);
    assert_eq!(ask(&world, &app, "b", "k2", NOW).await, known("k1"));
}
