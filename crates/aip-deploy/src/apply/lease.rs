//! Holds the lease while a command writes: a heartbeat keeps it, and everything that writes asks
//! first whether it is still ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::store::{Acquisition, Held, Holder, Lease, StateStore, StoreError, Tenure};

/// How long a lease lasts without a heartbeat: as long as a killed command blocks the next one.
pub const TTL: Duration = Duration::from_mins(1);

/// How often it is renewed: several attempts fit into the time it lasts.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The command that takes the lease for good; a reason follows it behind a colon.
pub const LOCK: &str = "lock";

/// The lease is no longer ours.
#[derive(Debug, thiserror::Error)]
#[error("another command took over the lease; this one stopped writing")]
pub struct LeaseLost;

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("{}", describe(.0))]
    HeldBy(Box<Lease>),
    /// The state.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One sentence about who has a lease, and what to do.
pub fn describe(lease: &Lease) -> String {
    let Holder {
        user,
        host,
        pid,
        command,
        ..
    } = &lease.holder;
    let since = &lease.acquired;
    if let Some(expires) = &lease.expires {
        return format!(
            "the stack is in use: `{command}` by {user}@{host} (pid {pid}) since {since}; the lease expires at {expires} if it is not renewed"
        );
    }
    // Behind the command, if a reason was given.
    let why = command.strip_prefix(LOCK).unwrap_or_default();
    format!("the stack was locked by {user}@{host} at {since}{why}; `aip-deploy unlock` opens it")
}

/// A lease that is kept alive.
pub struct LeaseKeeper {
    store: Arc<dyn StateStore>,
    held: Arc<Mutex<Held>>,
    lost: Arc<AtomicBool>,
    heartbeat: JoinHandle<()>,
}

impl LeaseKeeper {
    /// Takes the lease and keeps it.
    pub async fn acquire(store: Arc<dyn StateStore>, holder: &Holder) -> Result<Self, LeaseError> {
        let held = match store.acquire(holder).await? {
            Acquisition::Acquired(held) => held,
            Acquisition::HeldBy(lease) => return Err(LeaseError::HeldBy(Box::new(lease))),
        };
        let held = Arc::new(Mutex::new(held));
        let lost = Arc::new(AtomicBool::new(false));
        let heartbeat = tokio::spawn(beat(
            Arc::clone(&store),
            Arc::clone(&held),
            Arc::clone(&lost),
        ));
        Ok(Self {
            store,
            held,
            lost,
            heartbeat,
        })
    }

    /// Asked before every write.
    pub fn check(&self) -> Result<(), LeaseLost> {
        if self.lost.load(Ordering::Acquire) {
            Err(LeaseLost)
        } else {
            Ok(())
        }
    }

    /// Gives the lease back.
    pub async fn release(self) -> Result<(), StoreError> {
        self.heartbeat.abort();
        if self.check().is_ok() {
            let held = self.held.lock().await.clone();
            self.store.release(held).await?;
        }
        Ok(())
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

async fn beat(store: Arc<dyn StateStore>, held: Arc<Mutex<Held>>, lost: Arc<AtomicBool>) {
    let mut last_kept = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let mut current = held.lock().await;
        match store.renew(&current).await {
            Ok(Tenure::Kept(renewed)) => {
                *current = renewed;
                last_kept = tokio::time::Instant::now();
            }
            Ok(Tenure::Lost) => lost.store(true, Ordering::Release),
            // The store may come back before the lease expires.
            Err(_) if last_kept.elapsed() >= TTL => lost.store(true, Ordering::Release),
            Err(_) => {}
        }
        if lost.load(Ordering::Acquire) {
            return;
        }
    }
}
