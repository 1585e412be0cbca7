//! Points between the steps of a command at which a test ends the process, to see that the next command
//! goes on from what was left.

use aip_stack::desired::Phase;
use async_trait::async_trait;
use strum::{Display, EnumIter};

/// A point between two steps, in the order in which a command passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub enum FailPoint {
    /// The lease is held; nothing was written yet.
    LeaseAcquired,
    /// `keys rotate --auto`: the stack file has the new keys, which are not deployed yet.
    KeysWritten,
    /// `deps migrate`: the data is at the other server; the stack file does not say so yet.
    DatabaseMoved,
    /// `deps migrate`: the stack file leads to the other server, which is not deployed yet.
    MoveWritten,
    /// The state knows what the run may create.
    IntentRecorded,
    /// The namespace exists.
    NamespaceCreated,
    /// Secrets, accounts and policies are applied.
    FoundationApplied,
    /// The servers of the stack are applied and not awaited yet.
    DependenciesApplied,
    /// They are ready.
    DependenciesReady,
    /// The migration Job is created and not awaited yet.
    MigrationApplied,
    /// The migration is complete, and recorded as such.
    MigrationCompleted,
    /// Deployment and Services are applied and not awaited yet.
    WorkloadApplied,
    /// The new Pods serve; nothing is pruned yet.
    RolloutCompleted,
    /// What is no longer desired is deleted.
    Pruned,
    /// `destroy`: every object was asked to go.
    DeletionStarted,
    /// `destroy`: the API server confirmed that they are gone, apart from those that stay.
    DeletionCompleted,
    /// The state has the new inventory.
    InventoryPromoted,
    /// The history has the revision; the lease is still held.
    HistoryRecorded,
}

impl FailPoint {
    /// Behind the writes of a phase.
    pub(super) fn applied(phase: Phase) -> Self {
        match phase {
            Phase::Foundation => Self::FoundationApplied,
            Phase::Dependency => Self::DependenciesApplied,
            Phase::Migration => Self::MigrationApplied,
            Phase::Workload => Self::WorkloadApplied,
        }
    }

    /// Behind the wait of a phase, if anything in it is waited for.
    pub(super) fn awaited(phase: Phase) -> Option<Self> {
        match phase {
            Phase::Foundation => None,
            Phase::Dependency => Some(Self::DependenciesReady),
            Phase::Migration => Some(Self::MigrationCompleted),
            Phase::Workload => Some(Self::RolloutCompleted),
        }
    }
}

/// Told of every point that is reached; the command goes on when it returns.
#[async_trait]
pub trait FailPoints: Send + Sync {
    /// The command is between two steps.
    async fn reached(&self, point: FailPoint);
}

/// Stops nowhere: what the program uses.
pub struct NoFailPoints;

#[async_trait]
impl FailPoints for NoFailPoints {
    async fn reached(&self, _: FailPoint) {}
}
