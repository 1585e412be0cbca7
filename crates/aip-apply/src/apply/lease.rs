//! Holds the lease while a command writes: a background task renews it, and every write checks
//! first that it is still held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::store::{AcquireOutcome, Lease, LeaseGuard, LeaseHolder, Renewal, State, StoreError};

/// Lifetime of a lease without renewal: as long as a killed command blocks the next one.
pub const LEASE_DURATION: Duration = Duration::from_mins(1);

/// Several renewals fit into [`LEASE_DURATION`].
const RENEW_INTERVAL: Duration = Duration::from_secs(10);

/// Command name of a lease without expiry; the reason of the lock follows after a colon.
pub const LOCK_COMMAND: &str = "lock";

/// Another command holds the lease, or it could not be renewed for [`LEASE_DURATION`].
#[derive(Debug, thiserror::Error)]
#[error("lease lost (released, taken over or not renewed in time); stopped writing")]
pub struct LeaseLost;

/// The lease was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another command, or `lock`, holds it.
    #[error("{}", describe(.0))]
    HeldBy(Box<Lease>),
    /// The state backend failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One sentence about who has a lease, and what to do.
pub fn describe(lease: &Lease) -> String {
    let LeaseHolder {
        user,
        host,
        pid,
        command,
        ..
    } = &lease.holder;
    let since = &lease.acquired;
    if let Some(expires) = &lease.expires {
        return format!(
            "the stack is in use: `{command}` by {user}@{host} (pid {pid}) since {since}; the lease expires at \
             {expires} unless renewed"
        );
    }
    // Behind the command, if a reason was given.
    let why = command.strip_prefix(LOCK_COMMAND).unwrap_or_default();
    format!(
        "the stack was locked by {user}@{host} at {since}{why}; `aip-deploy unlock` releases it"
    )
}

/// Renews an acquired lease in the background until it is released or dropped.
pub struct LeaseRenewer {
    store: Arc<State>,
    guard: Arc<Mutex<LeaseGuard>>,
    lost: Arc<AtomicBool>,
    renewal: JoinHandle<()>,
}

impl LeaseRenewer {
    /// Acquires the lease and starts renewing it in the background.
    pub async fn acquire(store: Arc<State>, holder: &LeaseHolder) -> Result<Self, LeaseError> {
        let guard = match store.acquire(holder).await? {
            AcquireOutcome::Acquired(guard) => guard,
            AcquireOutcome::HeldBy(lease) => return Err(LeaseError::HeldBy(Box::new(lease))),
        };
        let guard = Arc::new(Mutex::new(guard));
        let lost = Arc::new(AtomicBool::new(false));
        let renewal = tokio::spawn(renew_periodically(
            Arc::clone(&store),
            Arc::clone(&guard),
            Arc::clone(&lost),
        ));
        Ok(Self {
            store,
            guard,
            lost,
            renewal,
        })
    }

    /// Must be called before every write to the cluster.
    pub fn check(&self) -> Result<(), LeaseLost> {
        if self.lost.load(Ordering::Acquire) {
            Err(LeaseLost)
        } else {
            Ok(())
        }
    }

    /// Stops the renewal and frees the lease, unless it was lost.
    pub async fn release(self) -> Result<(), StoreError> {
        // Not in the middle of a renewal, which would leave a lease that is not known here.
        let guard = self.guard.lock().await;
        self.renewal.abort();
        if self.check().is_ok() {
            self.store.release(guard.clone()).await?;
        }
        Ok(())
    }
}

impl Drop for LeaseRenewer {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew_periodically(
    store: Arc<State>,
    guard: Arc<Mutex<LeaseGuard>>,
    lost: Arc<AtomicBool>,
) {
    let mut last_renewed = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(RENEW_INTERVAL).await;
        let mut current = guard.lock().await;
        match store.renew(&current).await {
            Ok(Renewal::Renewed(renewed)) => {
                *current = renewed;
                last_renewed = tokio::time::Instant::now();
            }
            Ok(Renewal::Lost) => lost.store(true, Ordering::Release),
            // The store may come back before the lease expires.
            Err(_) if last_renewed.elapsed() >= LEASE_DURATION => {
                lost.store(true, Ordering::Release);
            }
            Err(_) => {}
        }
        if lost.load(Ordering::Acquire) {
            return;
        }
    }
}
