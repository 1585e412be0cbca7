//! The state of a stack, kept beside the stack in an object store: which objects it owns, who is
//! working on it, and what happened to it.
//!
//! The live cluster is the truth. This state only answers what a cluster cannot: which objects
//! were ours (so that they can be pruned), which cluster was meant, who is busy right now, and how
//! to go back. Losing it costs history and pruning, never the deployment.

mod blobs;
mod bucket;
mod folder;
mod pulumi;
mod records;
mod stacks;
mod state;

use async_trait::async_trait;

use crate::exit::Exit;

pub use pulumi::Checkpoints;
pub use records::{
    Counts, FieldSet, Held, Holder, Intent, Inventory, Lease, Outcome, Pin, Recorded, Revision,
    RevisionRecord,
};
pub use stacks::{LoginError, Stacks};
pub use state::State;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or answered that it cannot now.
    #[error("the state store {url} cannot be reached: {reason}")]
    Unreachable {
        /// The store, without credentials.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The credentials do not open it.
    #[error("the state store {url} refuses access: {reason}")]
    Denied {
        /// The store, without credentials.
        url: String,
        /// What it said.
        reason: String,
    },
    /// An object is not what this program writes.
    #[error("{path} in the state store is not readable: {reason}")]
    Corrupt {
        /// The object's path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else wrote in between, and went on doing so.
    #[error("{path} in the state store keeps changing under this command; run it again")]
    Contended {
        /// The object's path.
        path: String,
    },
}

impl StoreError {
    /// The exit code of a command that ends with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Denied { .. } => Exit::Authentication,
            Self::Unreachable { .. } | Self::Corrupt { .. } | Self::Contended { .. } => {
                Exit::Failed
            }
        }
    }
}

/// What came of pinning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinning {
    /// The stack is pinned to the cluster now.
    Pinned,
    /// It was pinned before, to this one; nothing was written.
    AlreadyPinned(Pin),
}

/// What came of asking for the lease.
#[derive(Debug, Clone)]
pub enum Acquisition {
    /// The lease is ours.
    Acquired(Held),
    /// Somebody else has it.
    HeldBy(Lease),
}

/// What came of renewing or releasing the lease.
#[derive(Debug, Clone)]
pub enum Tenure {
    /// It was ours; after a renewal, it is ours until the new expiry.
    Kept(Held),
    /// It was taken over or broken in the meantime: stop writing.
    Lost,
}

/// The state of one stack. Every verb is one conditional write, so of two callers one wins.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// What the stack owns; empty for a stack that was never applied.
    async fn inventory(&self) -> Result<Inventory, StoreError>;

    /// Pins the stack to a cluster, unless it is pinned.
    async fn pin(&self, pin: &Pin) -> Result<Pinning, StoreError>;

    /// Pins the stack to another cluster and forgets what it owned in the old one.
    async fn repin(&self, pin: &Pin) -> Result<(), StoreError>;

    /// Adds an unfinished intent, before the first write to the cluster.
    async fn record_intent(&self, intent: &Intent) -> Result<(), StoreError>;

    /// Remembers that a migration Job came to its end.
    async fn record_migrated(&self, job: &str) -> Result<(), StoreError>;

    /// Makes `owned` the last good inventory and clears every intent, after the prune. Of the
    /// migration Jobs, those are remembered of which `owned` still has fields.
    async fn promote(&self, owned: Vec<Recorded>) -> Result<(), StoreError>;

    /// Takes the lease if it is free or expired.
    async fn acquire(&self, holder: &Holder) -> Result<Acquisition, StoreError>;

    /// Moves the expiry on.
    async fn renew(&self, held: &Held) -> Result<Tenure, StoreError>;

    /// Gives the lease back.
    async fn release(&self, held: Held) -> Result<Tenure, StoreError>;

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
pub const HISTORY: usize = 100;

/// The last revision that succeeded: what is deployed, as far as the history knows.
pub async fn last_good(
    store: &dyn StateStore,
) -> Result<Option<(Revision, RevisionRecord)>, StoreError> {
    // Mostly it is the last one of all; the others need not be read then.
    for limit in [1, HISTORY] {
        let entries = store.history(limit).await?;
        let good = entries.into_iter().find(|(_, record)| record.is_good());
        if good.is_some() {
            return Ok(good);
        }
    }
    Ok(None)
}

/// What Pulumi left in the same store; read only.
#[async_trait]
pub trait PulumiState: Send + Sync {
    /// The newest checkpoint of the stack, as JSON text.
    async fn checkpoint(&self) -> Result<Option<String>, StoreError>;

    /// One line per lock that Pulumi holds on the stack: who, where, since when.
    async fn locks(&self) -> Result<Vec<String>, StoreError>;
}
