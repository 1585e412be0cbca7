//! How the process is, as its probes tell it.

use std::sync::Arc;
use std::time::Duration;

use aip_http::Health;
use aip_keys::KeyRing;
use aip_listen::Lifecycle;
use aip_storage::Storage;
use async_trait::async_trait;

/// How long the database may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The stage of the process, and the state of its database and of its keys.
pub(super) struct ServerHealth {
    pub(super) life: Lifecycle,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) keys: Arc<KeyRing>,
}

#[async_trait]
impl Health for ServerHealth {
    fn started(&self) -> bool {
        self.life.has_started()
    }

    async fn ready(&self) -> Result<(), String> {
        if !self.life.is_ready() {
            return Err("it starts or ends".to_owned());
        }
        match tokio::time::timeout(PING_TIMEOUT, self.storage.ping()).await {
            Ok(Ok(())) => self.keys.problem().map_or(Ok(()), Err),
            Ok(Err(_)) | Err(_) => Err("the database does not answer".to_owned()),
        }
    }
}
