//! What the keeper does unasked: it refreshes sessions that come due (idle ones long before their
//! refresh token ages out, failed ones when their back-off is over), and revokes ended ones at
//! their PDS.

use std::future::Future;
use std::sync::Arc;

use aip_base::RowId;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Keeper, KeeperError};

/// How many due sessions one round takes up.
const BATCH: u32 = 100;
/// How many sessions of a batch are worked on at the same time.
const CONCURRENCY: usize = 16;

impl Keeper {
    /// One round. The caller repeats it every few seconds; errors of single sessions are logged.
    pub async fn round(self: &Arc<Self>) -> Result<(), KeeperError> {
        let (revoked, refreshed) = tokio::join!(self.revoke_due(), self.refresh_due());
        revoked.and(refreshed)
    }

    async fn refresh_due(self: &Arc<Self>) -> Result<(), KeeperError> {
        let due = self.storage.due_sessions(self.clock.now(), BATCH).await?;
        let refreshes = due.into_iter().map(|id| {
            let keeper = Arc::clone(self);
            async move {
                if let Err(error) = keeper.refresh_unasked(id).await {
                    tracing::warn!(session = %id, %error, "a due session was not refreshed");
                }
            }
        });
        side_by_side(refreshes).await;
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

/// Runs the tasks of a batch, some at a time, so that one slow PDS does not hold up all others.
pub(super) async fn side_by_side<T: Send + 'static>(
    tasks: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let places = Arc::new(Semaphore::new(CONCURRENCY));
    let mut running = JoinSet::new();
    for task in tasks {
        let places = Arc::clone(&places);
        running.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire_owned().await.ok();
            task.await
        });
    }
    running.join_all().await
}
