//! For one process: rate limits and notices in its memory.

use std::sync::Mutex;

use aip_base::{Timestamp, lock};
use aip_storage::StorageError;
use aip_storage::gcra::decide;
use aip_storage::notices::{Notice, Notices};
use aip_storage::rates::{Quota, RateLimits, Verdict};
use async_trait::async_trait;
use futures_util::stream::{BoxStream, unfold};
use quick_cache::unsync::Cache;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Keys that are counted at a time. What is forgotten above that was not called for longest.
const MAX_KEYS: usize = 100_000;

/// Notices that a listener may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Rate limits in this process, bounded.
pub struct LocalRates(Mutex<Cache<String, Timestamp>>);

/// Notices in this process.
#[derive(Clone)]
pub struct LocalNotices(broadcast::Sender<Notice>);

impl Default for LocalRates {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(MAX_KEYS)))
    }
}

impl Default for LocalNotices {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
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

impl LocalNotices {
    /// Tells the listeners of this process.
    pub(crate) fn tell(&self, notice: Notice) {
        // Nobody listening is nobody's loss.
        let _ = self.0.send(notice);
    }
}

#[async_trait]
impl Notices for LocalNotices {
    async fn publish(&self, notice: &Notice) {
        self.tell(notice.clone());
    }

    fn subscribe(&self) -> BoxStream<'static, Notice> {
        let listener = (self.clone(), self.0.subscribe());
        Box::pin(unfold(listener, |(kept, mut heard)| async move {
            loop {
                match heard.recv().await {
                    Ok(notice) => return Some((notice, (kept, heard))),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "subscriber lagged, notices dropped");
                    }
                    // `kept` holds a sender.
                    Err(RecvError::Closed) => return None,
                }
            }
        }))
    }
}
