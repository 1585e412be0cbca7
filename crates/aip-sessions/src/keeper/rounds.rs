//! What the keeper does unasked: it refreshes sessions that come due (idle ones long before their
//! refresh token ages out, failed ones when their back-off is over), ends sessions of sign-ins
//! that were never finished, and revokes ended ones at their PDS.

use std::sync::Arc;
use std::time::Duration;

use aip_base::RowId;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Keeper, KeeperError};

/// How many due sessions one round takes up.
const BATCH: u32 = 100;
/// How many of them are refreshed at the same time.
const CONCURRENCY: usize = 16;
/// A sign-in that has no grant after this was abandoned; longer than a request lives.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

impl Keeper {
    /// One round. The caller repeats it every few seconds; errors of single sessions are logged.
    pub async fn round(self: &Arc<Self>) -> Result<(), KeeperError> {
        let now = self.clock.now();
        self.storage
            .end_abandoned_sessions(now - ABANDONED_AFTER, now)
            .await?;
        self.revoke_due().await?;
        self.refresh_due().await
    }

    async fn refresh_due(self: &Arc<Self>) -> Result<(), KeeperError> {
        let due = self.storage.due_sessions(self.clock.now(), BATCH).await?;
        let places = Arc::new(Semaphore::new(CONCURRENCY));
        let mut tasks = JoinSet::new();
        for id in due {
            let keeper = Arc::clone(self);
            let places = Arc::clone(&places);
            tasks.spawn(async move {
                let Ok(_place) = places.acquire().await else {
                    return;
                };
                if let Err(error) = keeper.refresh_unasked(id).await {
                    tracing::warn!(session = %id, %error, "a due session was not refreshed");
                }
            });
        }
        tasks.join_all().await;
        Ok(())
    }

    async fn refresh_unasked(self: &Arc<Self>, id: RowId) -> Result<(), KeeperError> {
        let Some(session) = self.storage.upstream_session(id).await? else {
            return Ok(());
        };
        let now = self.clock.now();
        if session.next_refresh_at <= now {
            self.refresh(&session, now).await
        } else {
            Ok(())
        }
    }
}
