//! Why a command that talks to a cluster ended without success, and with which exit code.

use crate::apply::lease::LeaseError;
use crate::apply::{ApplyError, PlanChanged};
use crate::cluster::ApiError;
use crate::exit::Exit;
use crate::guard::GuardError;
use crate::plan::Incomplete;
use crate::rollout::{Failure, FollowError};
use crate::selection::SelectionError;
use crate::store::{Revision, StoreError};
use crate::target::TargetError;
use crate::ui::PromptError;

/// The error of a command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing to start from.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The configuration of another revision.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The wrong cluster, or none.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The cluster.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plan cannot be approved.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// The plan does not hold any more.
    #[error(transparent)]
    PlanChanged(#[from] PlanChanged),
    /// Somebody else is at work.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The apply.
    #[error(transparent)]
    Apply(Box<ApplyError>),
    /// The rollout cannot be watched.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The rollout that was watched failed.
    #[error("the rollout failed: {0}")]
    Rollout(Failure),
    /// The rollout that was watched took too long.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// There is no answer.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// Somebody said no.
    #[error("confirmation declined, not proceeding with the {0}")]
    Declined(&'static str),
    /// `--expect-no-changes`, or drift.
    #[error("{0}")]
    UnexpectedChanges(&'static str),
    /// There is no such revision.
    #[error("there is no revision {} to go back to; see `aip-deploy stack history`", .0.0)]
    NoRevision(Revision),
    /// There is nothing to go back to.
    #[error("the history has no earlier revision that succeeded")]
    NoEarlierRevision,
    /// Pulumi is at work on the stack.
    #[error("Pulumi holds a lock on this stack; wait for it, or `pulumi cancel`:\n  {}", .0.join("\n  "))]
    PulumiLocked(Vec<String>),
    /// There is nothing to adopt.
    #[error("Pulumi has no checkpoint of this stack in the state store")]
    NoCheckpoint,
    /// The checkpoint is not what Pulumi writes.
    #[error("Pulumi's checkpoint cannot be read: {0}")]
    Checkpoint(String),
    /// Objects that do not go away.
    #[error("{} object(s) are still there: {}", .0.len(), .0.join(", "))]
    StillThere(Vec<String>),
    /// There is no lock.
    #[error("{0}")]
    NotLocked(&'static str),
    /// Checks of `doctor` failed.
    #[error("{0} check(s) failed")]
    Unhealthy(usize),
    /// Ctrl-C.
    #[error("cancelled; the lease was given back, and the next `up` goes on from here")]
    Cancelled,
}

impl From<ApplyError> for CommandError {
    fn from(error: ApplyError) -> Self {
        Self::Apply(Box::new(error))
    }
}

impl CommandError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Selection(error) => error.exit(),
            Self::Target(TargetError::Stack(_)) => Exit::Stack,
            Self::Target(_) | Self::Prompt(PromptError::NotInteractive) => Exit::Usage,
            Self::Api(ApiError::Credentials(_))
            | Self::Guard(GuardError::Identity {
                source: ApiError::Credentials(_),
                ..
            })
            | Self::Store(StoreError::Denied { .. }) => Exit::Authentication,
            Self::Apply(error) => match **error {
                ApplyError::Rollout(_) | ApplyError::Migration(_) => Exit::Rollout,
                ApplyError::TimedOut { .. } => Exit::TimedOut,
                _ => Exit::Failed,
            },
            Self::Rollout(_) => Exit::Rollout,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::UnexpectedChanges(_) => Exit::Changes,
            Self::Cancelled | Self::Prompt(PromptError::Cancelled) => Exit::Cancelled,
            _ => Exit::Failed,
        }
    }
}
