//! Why a command has nothing to start from.

use std::path::PathBuf;

use aip_apply::store::{LoginError, StoreError};
use aip_stack::config::Problems;
use pulumi_files::{
    BackendError, KeyError, ProjectError, SecretsError, StackFileError, StackName, WorkspaceError,
};

use crate::exit::{ErrorExit as _, Exit};

/// Project, stack, stack file or state backend could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// `Pulumi.yaml` is missing or invalid.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The choices in `~/.pulumi`.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The backend URL is invalid or unsupported.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A configuration key or property path is malformed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The stack file cannot be read or is invalid.
    #[error(transparent)]
    File(#[from] StackFileError),
    /// The configuration has problems; each with line and fix.
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// The key of the encrypted values is not available.
    #[error("{}: {source}", file.display())]
    Secrets {
        /// The stack file.
        file: PathBuf,
        /// The underlying error.
        source: SecretsError,
    },
    /// The state backend failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend cannot be used for a login.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// No backend URL in environment, project or workspace.
    #[error("not logged in: run `aip-deploy login s3://BUCKET` (or file://FOLDER)")]
    NotLoggedIn,
    /// No `--stack`, no `PULUMI_STACK`, none selected.
    #[error("no stack selected; please use `aip-deploy stack select` or pass --stack")]
    NoStack,
    /// The named stack has neither a file nor state.
    #[error("no stack named '{0}' found")]
    UnknownStack(StackName),
    /// Argument and `--stack` contradict each other.
    #[error("conflicting stacks: the argument names `{0}`, --stack names `{1}`")]
    TwoStacks(StackName, StackName),
}

impl ContextError {
    /// Exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotLoggedIn => Exit::Authentication,
            Self::Store(error) | Self::Login(LoginError::Store(error)) => error.exit(),
            Self::Secrets { source, .. } => secrets_exit(source),
            Self::Project(ProjectError::NotFound { .. })
            | Self::Login(LoginError::Unconditional { .. })
            | Self::File(StackFileError::Io { .. }) => Exit::Failed,
            Self::NoStack | Self::UnknownStack(_) => Exit::Stack,
            Self::Project(_)
            | Self::Workspace(_)
            | Self::Backend(_)
            | Self::Key(_)
            | Self::File(_)
            | Self::Configuration(_)
            | Self::TwoStacks(..) => Exit::Usage,
        }
    }
}

/// Where secrets cannot be opened: the key service refuses, is not reached, or the file is wrong.
pub fn secrets_exit(error: &SecretsError) -> Exit {
    match error {
        SecretsError::Kms(error) if error.is_denied() => Exit::Authentication,
        SecretsError::Kms(error) if error.is_misconfigured() => Exit::Usage,
        SecretsError::Kms(_) => Exit::Failed,
        SecretsError::Passphrase(_)
        | SecretsError::Unsupported { .. }
        | SecretsError::NoKey { .. }
        | SecretsError::BadKey
        | SecretsError::NotInitialised
        | SecretsError::Value { .. }
        | SecretsError::Crypter(_)
        | SecretsError::File(_) => Exit::Usage,
    }
}

/// Lets `?` turn an error into that of a command, by way of [`ContextError`].
macro_rules! from_context_errors {
    ($command:ty: $($error:ty),+) => {
        $(impl From<$error> for $command {
            fn from(error: $error) -> Self {
                Self::Context(error.into())
            }
        })+
    };
}
pub(crate) use from_context_errors;
