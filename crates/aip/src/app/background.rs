//! What the process does unasked: the keeper's rounds, and forgetting what is past its time.

use std::sync::Arc;
use std::time::Duration;

use aip_base::Clock;
use aip_sessions::{Keeper, Upstream};
use aip_storage::{Storage, StorageError};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Between two clean-ups.
const CLEAN_UP: Duration = Duration::from_mins(1);
/// One in so many clean-ups walks through all live sessions, for sign-ins that were abandoned.
const WALK_EVERY: u64 = 60;
/// The task of which one replica has the lead, and for how long: a few clean-ups.
const CLEAN_UP_TASK: &str = "clean-up";
const CLEAN_UP_LEAD: Duration = Duration::from_mins(3);
/// Rows of each kind that one statement forgets: short enough not to hold anybody up.
const BATCH: u32 = 500;
/// A grant is looked at by the clean-up only after this, longer than a code needs to be redeemed.
const GRANT_AGE: Duration = Duration::from_hours(1);

/// A sign-in that has no grant after this was abandoned; longer than a request lives.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// Runs until it is aborted. That loses nothing: refreshes run in tasks of their own, and each
/// clean-up is one transaction. Neither waits for the other: a round takes as long as PDSs do.
pub(super) async fn run(keeper: Arc<Keeper>) {
    let Upstream { storage, clock, .. } = &keeper.upstream;
    let keeping = Arc::clone(&keeper).run();
    tokio::join!(keeping, forget(&**storage, keeper.owner(), &**clock));
}

async fn forget(storage: &dyn Storage, owner: &str, clock: &dyn Clock) {
    let mut ticks = ticks(CLEAN_UP);
    for round in 0_u64.. {
        ticks.tick().await;
        let walks = round % WALK_EVERY == 0;
        if let Err(error) = clean_up(storage, owner, clock, walks).await {
            tracing::error!(%error, "cleanup of expired rows failed");
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// One replica does it for all.
async fn clean_up(
    storage: &dyn Storage,
    owner: &str,
    clock: &dyn Clock,
    walks: bool,
) -> Result<(), StorageError> {
    let now = clock.now();
    if !storage
        .acquire_leadership(CLEAN_UP_TASK, owner, CLEAN_UP_LEAD, now)
        .await?
    {
        return Ok(());
    }
    // What stops one of them must not stop the others.
    let abandoned = if walks {
        storage
            .end_abandoned_sessions(now - ABANDONED_AFTER, now)
            .await
    } else {
        Ok(0)
    };
    let expired = storage.end_expired_grants(now - GRANT_AGE, now, BATCH);
    let expired = expired.await;
    while storage.purge_expired(now, BATCH).await?.more {}
    abandoned.and(expired).map(drop)
}
