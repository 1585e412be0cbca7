//! Rate limits: who is counted, and who is not.

use std::net::SocketAddr;
use std::time::Duration;

use aip_base::PeerAddr;
use http::header::{AUTHORIZATION, HeaderName};

use crate::support::app::basic;
use crate::support::{Answer, World, form_request};

/// A guess at the secret of a client, from that address.
async fn guess(world: &World, from: &str, forwarded: Option<&str>) -> Answer {
    credential(world, from, forwarded, basic("nobody", "guess")).await
}

async fn credential(
    world: &World,
    from: &str,
    forwarded: Option<&str>,
    credential: String,
) -> Answer {
    let mut headers = vec![(AUTHORIZATION, credential)];
    let name = HeaderName::from_static("x-forwarded-for");
    headers.extend(forwarded.map(|it| (name, it.to_owned())));
    let mut request = form_request("/oauth/revoke", &[("token", "x")], &headers);
    request.extensions_mut().insert(peer(from));
    world.send(request).await
}

fn peer(address: &str) -> PeerAddr {
    PeerAddr(SocketAddr::new(address.parse().unwrap(), 4711))
}

/// How many guesses are answered as such.
async fn guesses(world: &World, from: impl Fn(u32) -> String) -> u32 {
    for number in 0..200 {
        let answer = guess(world, &from(number), None).await;
        if answer.status == 429 {
            answer.expect_error(429, "temporarily_unavailable");
            assert_eq!(answer.header("retry-after"), "1");
            return number;
        }
        answer.expect_error(401, "invalid_client");
    }
    200
}

#[tokio::test]
async fn guesses_at_secrets_are_slowed_down_and_calls_that_go_well_are_not() {
    let world = World::new().await;
    let app = world.confidential_app().await;
    let right = basic(&app.id, app.secret.as_deref().unwrap());
    for _ in 0..100 {
        let answer = credential(&world, "203.0.113.9", None, right.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(guesses(&world, |_| "203.0.113.9".to_owned()).await, 60);
    // The right secret is let in, whatever others did from the same address.
    let from_there = || credential(&world, "203.0.113.9", None, right.clone());
    assert_eq!(from_there().await.status, 200);
    let elsewhere = credential(&world, "203.0.113.10", None, right.clone()).await;
    assert_eq!(elsewhere.status, 200, "{}", elsewhere.body);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(from_there().await.status, 200);
    assert_eq!(guess(&world, "203.0.113.9", None).await.status, 401);
    assert_eq!(guess(&world, "203.0.113.9", None).await.status, 429);
}

#[tokio::test]
async fn a_stranger_does_not_change_networks_by_a_header() {
    let world = World::new().await;
    for number in 0..60 {
        let forwarded = format!("192.0.2.{number}");
        let answer = guess(&world, "203.0.113.9", Some(&forwarded)).await;
        assert_eq!(answer.status, 401);
    }
    let answer = guess(&world, "203.0.113.9", Some("192.0.2.99")).await;
    assert_eq!(answer.status, 429);
    // And nobody else is made to pay for it.
    assert_eq!(guess(&world, "192.0.2.1", None).await.status, 401);
}

#[tokio::test]
async fn all_addresses_of_an_ipv6_network_count_as_one() {
    let world = World::new().await;
    let address = |number: u32| format!("2001:db8:0:1:{number:x}::1");
    assert_eq!(guesses(&world, address).await, 60);
    assert_eq!(guess(&world, "2001:db8:0:2::1", None).await.status, 401);
}

#[tokio::test]
async fn an_address_that_many_people_are_behind_has_room_for_them() {
    let world = World::new().await;
    assert_eq!(guesses(&world, |_| "10.0.0.7".to_owned()).await, 200);
}
