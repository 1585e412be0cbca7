//! What the process does unasked: the keeper's rounds, and forgetting what is past its time.

use std::sync::Arc;
use std::time::Duration;

use aip_base::Clock;
use aip_sessions::Keeper;
use aip_storage::{Storage, StorageError};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Between two rounds of the keeper.
const KEEPER: Duration = Duration::from_secs(2);
/// Between two clean-ups.
const CLEAN_UP: Duration = Duration::from_mins(1);
/// Rows of each kind that one statement forgets: short enough not to hold anybody up.
const BATCH: u32 = 500;
/// A grant is looked at by the clean-up only after this, longer than a code needs to be redeemed.
const GRANT_AGE: Duration = Duration::from_hours(1);

/// A sign-in that has no grant after this was abandoned; longer than a request lives.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// Runs until it is aborted. That loses nothing: refreshes run in tasks of their own, and each
/// clean-up is one transaction. Neither waits for the other: a round takes as long as PDSs do.
pub(super) async fn run(keeper: Arc<Keeper>, storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) {
    tokio::join!(keep(&keeper), forget(&*storage, &*clock));
}

async fn keep(keeper: &Arc<Keeper>) {
    let mut ticks = ticks(KEEPER);
    loop {
        ticks.tick().await;
        if let Err(error) = keeper.round().await {
            tracing::error!(%error, "a round of the keeper failed");
        }
    }
}

async fn forget(storage: &dyn Storage, clock: &dyn Clock) {
    let mut ticks = ticks(CLEAN_UP);
    loop {
        ticks.tick().await;
        if let Err(error) = clean_up(storage, clock).await {
            tracing::error!(%error, "a clean-up failed");
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn clean_up(storage: &dyn Storage, clock: &dyn Clock) -> Result<(), StorageError> {
    let now = clock.now();
    storage
        .end_abandoned_sessions(now - ABANDONED_AFTER, now)
        .await?;
    storage
        .end_expired_grants(now - GRANT_AGE, now, BATCH)
        .await?;
    while storage.purge_expired(now, BATCH).await?.more {}
    Ok(())
}
