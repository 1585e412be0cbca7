//! The state of a stack, kept beside the stack in an object store: which objects it owns, who is
//! working on it, and what happened to it.
//!
//! The live cluster is the truth. This state only answers what a cluster cannot: which objects
//! were ours (so that they can be pruned), which cluster was meant, who is busy right now, and how
//! to go back. Losing it costs history and pruning, never the deployment.

mod blobs;
mod bucket;
mod folder;
mod records;
mod stacks;
mod state;

use async_trait::async_trait;

pub use records::{
    Counts, FieldSet, Intent, Inventory, Lease, LeaseGuard, LeaseHolder, Outcome, OwnedObject, Pin,
    Revision, RevisionRecord,
};
pub use stacks::{LoginError, Stacks};
pub use state::State;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or answered that it cannot now.
    #[error("the state backend {url} cannot be reached: {reason}")]
    Unreachable {
        /// URL of the backend, without credentials.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The credentials do not open it.
    #[error("the state backend {url} refuses access: {reason}")]
    Denied {
        /// URL of the backend, without credentials.
        url: String,
        /// Code and message of the backend.
        reason: String,
    },
    /// An object is not what this program writes.
    #[error("{path} in the state backend is not readable: {reason}")]
    Corrupt {
        /// Path of the document below the backend's root.
        path: String,
        /// What the parser or check reported; never a secret value.
        reason: String,
    },
    /// Somebody else wrote in between, and went on doing so.
    #[error("{path} in the state backend is being changed concurrently; run the command again")]
    Contended {
        /// Path of the document below the backend's root.
        path: String,
    },
}

/// Outcome of pinning a stack to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinOutcome {
    /// The stack is pinned to the cluster now.
    Pinned,
    /// It was pinned before, to this one; nothing was written.
    AlreadyPinned(Pin),
}

/// Outcome of an attempt to acquire the lease.
#[derive(Debug, Clone)]
pub enum AcquireOutcome {
    /// The lease was acquired.
    Acquired(LeaseGuard),
    /// Another holder has it.
    HeldBy(Lease),
}

/// Outcome of renewing or releasing the lease.
#[derive(Debug, Clone)]
pub enum Renewal {
    /// It was ours; after a renewal, it is ours until the new expiry.
    Renewed(LeaseGuard),
    /// It was taken over or broken in the meantime: stop writing.
    Lost,
}

/// The state of one stack. Every verb is one conditional write, so of two callers one wins.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// What the stack owns; empty for a stack that was never applied.
    async fn inventory(&self) -> Result<Inventory, StoreError>;

    /// Pins the stack to a cluster, unless it is pinned.
    async fn pin(&self, pin: &Pin) -> Result<PinOutcome, StoreError>;

    /// Pins the stack to another cluster and forgets what it owned in the old one.
    async fn replace_pin(&self, pin: &Pin) -> Result<(), StoreError>;

    /// Adds an unfinished intent, before the first write to the cluster.
    async fn record_intent(&self, intent: &Intent) -> Result<(), StoreError>;

    /// Remembers that a migration Job came to its end.
    async fn record_migrated(&self, job: &str) -> Result<(), StoreError>;

    /// Makes `owned` the last good inventory and clears every intent, after the prune. Of the
    /// migration Jobs, those are remembered of which `owned` still has fields.
    async fn promote(&self, owned: Vec<OwnedObject>) -> Result<(), StoreError>;

    /// Takes the lease if it is free or expired.
    async fn acquire(&self, holder: &LeaseHolder) -> Result<AcquireOutcome, StoreError>;

    /// Extends the expiry by the holder's TTL.
    async fn renew(&self, guard: &LeaseGuard) -> Result<Renewal, StoreError>;

    /// Frees the lease.
    async fn release(&self, guard: LeaseGuard) -> Result<Renewal, StoreError>;

    /// Who has the lease, expired or not.
    async fn lease(&self) -> Result<Option<Lease>, StoreError>;

    /// Removes a lease whoever has it, if it is still `expected`. False: it changed meanwhile.
    async fn break_lease(&self, expected: &Lease) -> Result<bool, StoreError>;

    /// Appends to the history and returns the new revision's number.
    async fn append_history(&self, record: &RevisionRecord) -> Result<Revision, StoreError>;

    /// The history, newest first, at most `limit` entries.
    async fn history(&self, limit: usize) -> Result<Vec<(Revision, RevisionRecord)>, StoreError>;

    /// One entry of the history with its stack file.
    async fn revision(&self, revision: Revision) -> Result<Option<RevisionRecord>, StoreError>;
}

/// How far back a revision that succeeded is looked for.
pub const HISTORY_LIMIT: usize = 100;

/// The last revision that succeeded: what is deployed, as far as the history knows.
pub async fn last_good(
    store: &dyn StateStore,
) -> Result<Option<(Revision, RevisionRecord)>, StoreError> {
    // Mostly it is the last one of all; the others need not be read then.
    for limit in [1, HISTORY_LIMIT] {
        let entries = store.history(limit).await?;
        let good = entries.into_iter().find(|(_, record)| record.is_good());
        if good.is_some() {
            return Ok(good);
        }
    }
    Ok(None)
}
