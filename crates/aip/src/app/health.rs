//! How the process is, as its probes tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aip_http::ports::Health;
use aip_storage::Storage;
use async_trait::async_trait;

/// How long the database may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Started, taking requests, or going down.
pub struct ServerHealth {
    storage: Arc<dyn Storage>,
    started: AtomicBool,
    stopping: AtomicBool,
}

impl ServerHealth {
    /// Not started yet.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            started: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// Start-up is over.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Shut-down has begun: not ready from here on, so that no new request is sent here.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

#[async_trait]
impl Health for ServerHealth {
    fn started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    async fn ready(&self) -> bool {
        if !self.started() || self.stopping.load(Ordering::Acquire) {
            return false;
        }
        let asked = tokio::time::timeout(PATIENCE, self.storage.audit_events(0)).await;
        matches!(asked, Ok(Ok(_)))
    }
}
