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

/// How far back a revision that succeeded is looked for.
pub const HISTORY_LIMIT: usize = 100;

/// The last revision that succeeded: what is deployed, as far as the history knows.
pub async fn last_good(store: &State) -> Result<Option<(Revision, RevisionRecord)>, StoreError> {
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
