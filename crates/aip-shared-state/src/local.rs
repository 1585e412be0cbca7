//! For one process: rate limits in its memory.

use std::sync::Mutex;

use aip_base::{Timestamp, lock};
use aip_storage::StorageError;
use aip_storage::gcra::decide;
use aip_storage::rates::{Quota, RateLimits, Verdict};
use async_trait::async_trait;
use quick_cache::unsync::Cache;

/// Keys that are counted at a time. What is forgotten above that was not called for longest.
const MAX_KEYS: usize = 100_000;

/// Rate limits in this process, bounded.
pub struct LocalRates(Mutex<Cache<String, Timestamp>>);

impl Default for LocalRates {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(MAX_KEYS)))
    }
}

#[async_trait]
impl RateLimits for LocalRates {
    async fn take(&self, key: &str, quota: Quota, now: Timestamp) -> Result<Verdict, StorageError> {
        let mut keys = lock(&self.0);
        let (verdict, next) = decide(keys.get(key).copied(), quota, now);
        if let Some(next) = next {
            keys.insert(key.to_owned(), next);
        }
        Ok(verdict)
    }
}
