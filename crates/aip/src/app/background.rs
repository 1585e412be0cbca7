//! Background tasks of the process: the keeper, the deliveries of logouts, the deletion of expired rows,
//! the rotation of keys, the events of the network.

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, supervise};
use aip_oauth::AuthorizationServer;
use aip_sessions::{Keeper, Upstream};
use aip_storage::{Storage, StorageError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::KeyRotation;

/// Between two looks for logouts that clients are to be told of.
const LOGOUT_INTERVAL: Duration = Duration::from_secs(5);
/// Between two clean-ups.
const CLEAN_UP_INTERVAL: Duration = Duration::from_mins(1);
/// From the start of the process to the first one: the process is not held up by it.
const FIRST_CLEAN_UP_AFTER: Duration = Duration::from_millis(300);
/// One in so many clean-ups walks through all live sessions, for sign-ins that were abandoned.
const CLEAN_UPS_PER_WALK: u64 = 60;
/// The task that one replica leads at a time, and for how long: a few clean-ups.
const CLEAN_UP_TASK: &str = "clean-up";
const CLEAN_UP_LEADERSHIP: Duration = Duration::from_mins(3);
/// Rows of each kind that one statement deletes: short enough not to hold anybody up.
const PURGE_BATCH_ROWS: u32 = 500;
/// Clients that registered themselves and that one clean-up deletes: each is a transaction.
const UNUSED_CLIENTS_BATCH_ROWS: u32 = 50;
/// A client that is known by a document is deleted when nobody has allowed it anything for so long, and
/// nothing is left of what was allowed before.
const UNUSED_DOCUMENT_CLIENT_AGE: Duration = Duration::from_hours(30 * 24);
/// A grant is looked at by the clean-up only after this, longer than a code needs to be redeemed.
const MIN_GRANT_AGE: Duration = Duration::from_hours(1);

/// A sign-in that has no grant after this was abandoned; longer than a request lives.
const ABANDONED_SIGN_IN_AGE: Duration = Duration::from_hours(1);

/// Runs until it is aborted. That loses nothing: refreshes run in tasks of their own, and each
/// clean-up is one transaction, each step of a rotation one statement. None waits for another: a round
/// takes as long as PDSs do. None ends with another: what panics is begun anew.
pub(super) async fn run(
    keeper: Arc<Keeper>,
    key_rotation: Option<Arc<KeyRotation>>,
    server: AuthorizationServer,
    following: impl Future<Output = ()>,
) {
    let Upstream { storage, clock, .. } = &keeper.upstream;
    let keeping = Arc::clone(&keeper).run();
    let rotating = supervise("rotation of signing keys", || async {
        if let Some(rotation) = &key_rotation {
            rotation.run(&**clock).await;
        }
    });
    let cleaning = supervise("cleanup of expired rows", || {
        clean_up_loop(&**storage, keeper.owner(), &**clock)
    });
    let delivering = supervise("deliveries of logouts", || delivery_loop(&server));
    tokio::join!(keeping, cleaning, rotating, following, delivering);
}

/// Every replica does it: each delivery is claimed by one. A process that is ended here loses its
/// claims, and another one makes the deliveries.
async fn delivery_loop(server: &AuthorizationServer) {
    let mut ticks = interval_at(Instant::now() + LOGOUT_INTERVAL, LOGOUT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        loop {
            match server.deliver_due_logouts().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "logout delivery failed, retrying");
                    break;
                }
            }
        }
    }
}

async fn clean_up_loop(storage: &dyn Storage, owner: &str, clock: &dyn Clock) {
    let mut ticks = clean_up_ticks();
    for round in 0_u64.. {
        ticks.tick().await;
        let walks = round % CLEAN_UPS_PER_WALK == 0;
        if let Err(error) = clean_up(storage, owner, clock, walks).await {
            tracing::error!(%error, "cleanup of expired rows failed");
        }
    }
}

fn clean_up_ticks() -> Interval {
    let mut ticks = interval_at(Instant::now() + FIRST_CLEAN_UP_AFTER, CLEAN_UP_INTERVAL);
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
        .acquire_leadership(CLEAN_UP_TASK, owner, CLEAN_UP_LEADERSHIP, now)
        .await?
    {
        return Ok(());
    }
    // What stops one of them must not stop the others.
    let abandoned = if walks {
        storage
            .end_abandoned_sessions(now - ABANDONED_SIGN_IN_AGE, now)
            .await
    } else {
        Ok(0)
    };
    let expired = storage.end_expired_grants(now - MIN_GRANT_AGE, now, PURGE_BATCH_ROWS);
    let expired = expired.await;
    let delegations = storage.end_expired_delegations(now, PURGE_BATCH_ROWS).await;
    let unused = storage.delete_unused_clients(now, UNUSED_CLIENTS_BATCH_ROWS);
    let unused = unused.await;
    let unused_documents = storage
        .delete_unused_document_clients(
            now - UNUSED_DOCUMENT_CLIENT_AGE,
            now,
            UNUSED_CLIENTS_BATCH_ROWS,
        )
        .await;
    while storage.purge_expired(now, PURGE_BATCH_ROWS).await?.more {}
    abandoned
        .and(expired)
        .and(delegations)
        .and(unused)
        .and(unused_documents)
        .map(drop)
}
