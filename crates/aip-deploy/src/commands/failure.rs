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
    /// The namespace takes nothing new.
    #[error("the namespace {namespace} {how}; when it is gone, run the command again")]
    NamespaceDeleting {
        /// Its name.
        namespace: String,
        /// `is being deleted`, with what keeps it.
        how: String,
    },
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
    /// The exit code: the one of the cause, wherever it arose. There is no arm for the rest, so
    /// that a new error has to say which one it has.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Selection(error) => error.exit(),
            Self::Target(error) => error.exit(),
            Self::Guard(error) => error.exit(),
            Self::Api(error) => error.exit(),
            Self::Store(error) | Self::Lease(LeaseError::Store(error)) => error.exit(),
            Self::Incomplete(error) => error.exit(),
            Self::Apply(error) => error.exit(),
            Self::Follow(error) => error.exit(),
            Self::Rollout(_) => Exit::Rollout,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::UnexpectedChanges(_) => Exit::Changes,
            Self::Cancelled | Self::Prompt(PromptError::Cancelled) => Exit::Cancelled,
            Self::Prompt(PromptError::NotInteractive) => Exit::Usage,
            Self::Lease(LeaseError::HeldBy(_))
            | Self::PlanChanged(PlanChanged)
            | Self::Prompt(PromptError::Terminal(_))
            | Self::Declined(_)
            | Self::NoRevision(_)
            | Self::NoEarlierRevision
            | Self::PulumiLocked(_)
            | Self::NoCheckpoint
            | Self::Checkpoint(_)
            | Self::StillThere(_)
            | Self::NamespaceDeleting { .. }
            | Self::NotLocked(_)
            | Self::Unhealthy(_) => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use pulumi_files::SecretsError;
    use pulumi_files::aws::{CredentialsError, KmsError};

    use super::*;
    use crate::cluster::ConnectError;

    fn status(code: u16) -> ApiError {
        ApiError::Status(Status::failure("no", "").with_code(code).boxed())
    }

    fn kms(code: &str) -> KmsError {
        KmsError::Refused {
            code: code.to_owned(),
            message: String::new(),
        }
    }

    fn denied() -> StoreError {
        StoreError::Denied {
            url: "s3://state".to_owned(),
            reason: String::new(),
        }
    }

    fn unreachable() -> StoreError {
        StoreError::Unreachable {
            url: "s3://state".to_owned(),
            reason: String::new(),
        }
    }

    fn secrets(source: KmsError) -> SelectionError {
        SelectionError::Secrets {
            file: "Pulumi.main.yaml".into(),
            source: SecretsError::Kms(source),
        }
    }

    #[test]
    fn the_same_cause_has_the_same_exit_code_wherever_it_arises() {
        let object = || crate::cluster::namespace("n");
        let identity = |source| GuardError::Identity {
            context: "c".to_owned(),
            source,
            via: None,
        };
        let credentials = || ApiError::Credentials("a plugin failed".to_owned());
        let plugin = ConnectError::Credentials {
            context: "c".to_owned(),
            reason: "a plugin failed".to_owned(),
        };
        let out_of_reach = || ApiError::Unreachable("connection refused".to_owned());
        let of_object = |source| ApplyError::Object {
            object: object(),
            source,
        };
        let errors: Vec<(CommandError, Exit)> = vec![
            // Who nobody knows.
            (status(401).into(), Exit::Authentication),
            (identity(status(401)).into(), Exit::Authentication),
            (of_object(status(401)).into(), Exit::Authentication),
            (ApplyError::Api(status(401)).into(), Exit::Authentication),
            (
                FollowError::Refused(status(401)).into(),
                Exit::Authentication,
            ),
            (
                ApplyError::Follow(FollowError::Refused(status(401))).into(),
                Exit::Authentication,
            ),
            (credentials().into(), Exit::Authentication),
            (identity(credentials()).into(), Exit::Authentication),
            (of_object(credentials()).into(), Exit::Authentication),
            (GuardError::Connect(plugin).into(), Exit::Authentication),
            (denied().into(), Exit::Authentication),
            (GuardError::Store(denied()).into(), Exit::Authentication),
            (LeaseError::Store(denied()).into(), Exit::Authentication),
            (ApplyError::Store(denied()).into(), Exit::Authentication),
            (SelectionError::Store(denied()).into(), Exit::Authentication),
            (
                secrets(kms("AccessDeniedException")).into(),
                Exit::Authentication,
            ),
            (
                secrets(kms("DisabledException")).into(),
                Exit::Authentication,
            ),
            (
                secrets(kms("ExpiredTokenException")).into(),
                Exit::Authentication,
            ),
            (
                secrets(CredentialsError::None.into()).into(),
                Exit::Authentication,
            ),
            (
                TargetError::from(secrets(kms("DisabledException"))).into(),
                Exit::Authentication,
            ),
            // What is not there.
            (out_of_reach().into(), Exit::Failed),
            (identity(out_of_reach()).into(), Exit::Failed),
            (of_object(out_of_reach()).into(), Exit::Failed),
            (ApiError::Timeout(30).into(), Exit::Failed),
            (unreachable().into(), Exit::Failed),
            (LeaseError::Store(unreachable()).into(), Exit::Failed),
            (secrets(kms("KMSInternalException")).into(), Exit::Failed),
            (secrets(KmsError::Answer).into(), Exit::Failed),
            // What is refused to somebody who is known.
            (status(403).into(), Exit::Failed),
            (of_object(status(422)).into(), Exit::Failed),
            // What is configured wrong.
            (secrets(KmsError::NoRegion).into(), Exit::Usage),
            (secrets(kms("NotFoundException")).into(), Exit::Usage),
            (
                TargetError::from(SelectionError::NoStack).into(),
                Exit::Stack,
            ),
        ];
        for (error, exit) in errors {
            assert_eq!(error.exit(), exit, "{error:?}");
        }
    }
}
