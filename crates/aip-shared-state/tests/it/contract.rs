//! The contract of the traits, on each implementation.

use aip_shared_state::SharedState;
use aip_shared_state::local::LocalRates;
use aip_storage::notices::LocalNotices;
use aip_testkit::shared_state::{notices_hold, rate_limits_hold, shared_nonces_hold};
use aip_testkit::valkey::ValkeyServer;

use crate::support::connected;

#[tokio::test]
async fn one_process_holds_the_contract() {
    rate_limits_hold(&LocalRates::default()).await;
    let notices = LocalNotices::default();
    notices_hold(&notices, &notices).await;
}

#[tokio::test]
async fn valkey_holds_the_contract() {
    let server = ValkeyServer::start().await;
    let (here, there) = (
        connected(&server.url()).await,
        connected(&server.url()).await,
    );
    rate_limits_hold(&*here).await;
    shared_nonces_hold(&*here).await;
    notices_hold(&*here, &*there).await;
}

#[tokio::test]
async fn valkey_with_something_behind_it_holds_the_contract() {
    let server = ValkeyServer::start().await;
    let here = SharedState::local().behind(&connected(&server.url()).await);
    let there = SharedState::local().behind(&connected(&server.url()).await);
    rate_limits_hold(&*here.rates).await;
    shared_nonces_hold(&*here.nonces.unwrap()).await;
    notices_hold(&*here.notices, &*there.notices).await;
}

#[tokio::test]
async fn what_is_kept_is_forgotten_in_time() {
    let server = ValkeyServer::start().await;
    let valkey = connected(&server.url()).await;
    rate_limits_hold(&*valkey).await;
    shared_nonces_hold(&*valkey).await;
    let keys = server.cli(&["--raw", "KEYS", "*"]).await;
    assert!(keys.lines().count() > 5, "{keys}");
    for key in keys.lines() {
        assert!(key.starts_with("aip:"), "{key}");
        let life: i64 = server.cli(&["--raw", "PTTL", key]).await.parse().unwrap();
        assert!(life > 0 && life <= 36_000_000, "{key} lives {life} ms");
    }
}
