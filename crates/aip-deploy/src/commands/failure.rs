//! Why a command that talks to a cluster ended without success, and with which exit code.

use aip_apply::apply::lease::LeaseError;
use aip_apply::apply::{ApplyError, PlanChanged};
use aip_apply::cluster::{ApiError, GuardError};
use aip_apply::plan::{Incomplete, UnknownData};
use aip_apply::rollout::{Failure, FollowError};
use aip_apply::store::{Revision, StoreError};

use crate::context::ContextError;
use crate::exit::{ErrorExit as _, Exit};
use crate::ui::PromptError;

/// Failure of a command that works on a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Context(#[from] ContextError),
    /// No connection, or the cluster is not the pinned one.
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    #[error(transparent)]
    UnknownData(#[from] UnknownData),
    #[error(transparent)]
    PlanChanged(#[from] PlanChanged),
    /// Another command or `lock` holds the lease.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Apply(Box<ApplyError>),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("the rollout failed: {0}")]
    Rollout(Failure),
    #[error("timed out: {0}")]
    TimedOut(String),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error("confirmation declined, not proceeding with the {0}")]
    Declined(&'static str),
    /// `--expect-no-changes`, or drift.
    #[error("{0}")]
    UnexpectedChanges(&'static str),
    #[error("revision {} not found; see `aip-deploy stack history`", .0.0)]
    NoRevision(Revision),
    #[error("no earlier successful revision in the history")]
    NoEarlierRevision,
    /// Pulumi's locks on the stack, one line each.
    #[error("the stack is locked by Pulumi; wait for it to finish, or run `pulumi cancel`:\n  {}", .0.join("\n  "))]
    PulumiLocked(Vec<String>),
    #[error("no Pulumi checkpoint of this stack in the state backend")]
    NoCheckpoint,
    #[error("Pulumi's checkpoint cannot be read: {0}")]
    Checkpoint(String),
    /// Objects that still exist after the timeout of `destroy`.
    #[error("{} object(s) not deleted: {}", .0.len(), .0.join(", "))]
    NotDeleted(Vec<String>),
    #[error("namespace {namespace} {how}; run the command again once it is gone")]
    NamespaceDeleting {
        namespace: String,
        /// `is being deleted`, with what keeps it.
        how: String,
    },
    /// The lease is not held, or not held by `lock`.
    #[error("{0}")]
    NotLocked(&'static str),
    /// Number of failed checks of `doctor`.
    #[error("{0} check(s) failed")]
    Unhealthy(usize),
    /// SIGINT or SIGTERM.
    #[error("cancelled; lease released; run `up` to resume")]
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
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Context(error) => error.exit(),
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
            Self::Prompt(PromptError::NotInteractive) | Self::UnknownData(_) => Exit::Usage,
            Self::Lease(LeaseError::HeldBy(_))
            | Self::PlanChanged(PlanChanged)
            | Self::Prompt(PromptError::Terminal(_))
            | Self::Declined(_)
            | Self::NoRevision(_)
            | Self::NoEarlierRevision
            | Self::PulumiLocked(_)
            | Self::NoCheckpoint
            | Self::Checkpoint(_)
            | Self::NotDeleted(_)
            | Self::NamespaceDeleting { .. }
            | Self::NotLocked(_)
            | Self::Unhealthy(_) => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use aip_aws::{CredentialsError, KmsError};
    use kube::core::Status;
    use pulumi_files::SecretsError;

    use super::*;
    use crate::aws_keys::key_service_error;
    use aip_apply::cluster::ConnectError;

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

    fn secrets(source: KmsError) -> ContextError {
        ContextError::Secrets {
            file: "Pulumi.main.yaml".into(),
            source: SecretsError::KeyService(key_service_error(source)),
        }
    }

    #[test]
    fn the_same_cause_has_the_same_exit_code_wherever_it_arises() {
        let object = || aip_stack::desired::Desired::namespace("n").object().clone();
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
            (ContextError::Store(denied()).into(), Exit::Authentication),
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
                secrets(CredentialsError::NotFound(None).into()).into(),
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
            (secrets(KmsError::InvalidResponse).into(), Exit::Failed),
            // What is refused to somebody who is known.
            (status(403).into(), Exit::Failed),
            (of_object(status(422)).into(), Exit::Failed),
            // What is configured wrong.
            (secrets(KmsError::NoRegion).into(), Exit::Usage),
            (secrets(kms("NotFoundException")).into(), Exit::Usage),
            (ContextError::NoStack.into(), Exit::Stack),
        ];
        for (error, exit) in errors {
            assert_eq!(error.exit(), exit, "{error:?}");
        }
    }
}
