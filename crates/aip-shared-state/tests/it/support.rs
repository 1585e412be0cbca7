//! Servers and connections to them.

use std::sync::Arc;
use std::time::Duration;

use aip_base::{SystemRng, Timestamp};
use aip_shared_state::valkey::{Valkey, ValkeyConfig};
use aip_storage::rates::{Quota, RateLimits as _};
use aip_testkit::valkey::SERVER_TIMEOUT;
use tokio::time::{Instant, sleep};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_001);

pub(crate) const ONE_AN_HOUR: Quota = Quota {
    burst: 1,
    every: Duration::from_hours(1),
};

pub(crate) fn config(url: &str) -> ValkeyConfig {
    let url = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
    ValkeyConfig::new(url, None).unwrap()
}

pub(crate) fn start(config: ValkeyConfig) -> Arc<Valkey> {
    Arc::new(Valkey::start(config, Arc::new(SystemRng)))
}

/// A connection that is there.
pub(crate) async fn connected(url: &str) -> Arc<Valkey> {
    let valkey = start(config(url));
    assert!(valkey.wait(SERVER_TIMEOUT).await, "no connection to {url}");
    valkey
}

/// Waits until the server takes calls.
pub(crate) async fn until_it_works(valkey: &Valkey) {
    let deadline = Instant::now() + SERVER_TIMEOUT;
    for attempt in 0.. {
        let key = format!("attempt {attempt}");
        match valkey.take(&key, ONE_AN_HOUR, NOW).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}
