//! Valkey first; when it is away or slow, at once what stands behind it.
//!
//! Nobody waits for an outage: while [`Valkey`] has no connection it refuses without trying, and
//! tries by itself once a second.

use std::sync::Arc;

use aip_atproto::Origin;
use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::nonces::{ReceivedNonce, ServerRole, SharedNonces};
use aip_storage::notices::{Notice, Notices};
use aip_storage::rates::{Quota, RateLimits, Verdict};
use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt as _, select};

use crate::valkey::Valkey;

/// Valkey, and behind it `T`.
pub struct Fallback<T: ?Sized> {
    /// Asked first.
    pub valkey: Arc<Valkey>,
    /// Asked when Valkey fails.
    pub behind: Arc<T>,
}

/// Counts that Valkey could not do `what`.
fn fell_back(what: &'static str, error: &StorageError) {
    metrics::counter!("aip_shared_state_fallbacks_total", "what" => what).increment(1);
    tracing::debug!(what, %error, "Valkey failed, using the fallback");
}

#[async_trait]
impl RateLimits for Fallback<dyn RateLimits> {
    async fn take(&self, key: &str, quota: Quota, now: Timestamp) -> Result<Verdict, StorageError> {
        match self.valkey.take(key, quota, now).await {
            Ok(verdict) => Ok(verdict),
            Err(error) => {
                fell_back("rates", &error);
                self.behind.take(key, quota, now).await
            }
        }
    }
}

#[async_trait]
impl SharedNonces for Fallback<dyn SharedNonces> {
    async fn newest_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
    ) -> Result<Option<ReceivedNonce>, StorageError> {
        match self.valkey.newest_nonce(role, origin).await {
            Ok(newest) => Ok(newest),
            Err(error) => {
                fell_back("nonces", &error);
                self.behind.newest_nonce(role, origin).await
            }
        }
    }

    async fn offer_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
        given: &ReceivedNonce,
    ) -> Result<(), StorageError> {
        match self.valkey.offer_nonce(role, origin, given).await {
            Ok(()) => Ok(()),
            Err(error) => {
                fell_back("nonces", &error);
                self.behind.offer_nonce(role, origin, given).await
            }
        }
    }
}

/// Listens on both, for another replica may reach only one of them.
#[async_trait]
impl Notices for Fallback<dyn Notices> {
    async fn publish(&self, notice: &Notice) {
        if let Err(error) = self.valkey.send_notice(notice).await {
            fell_back("notices", &error);
            self.behind.publish(notice).await;
        }
    }

    fn subscribe(&self) -> BoxStream<'static, Notice> {
        select(self.valkey.subscribe(), self.behind.subscribe()).boxed()
    }
}
