//! Why a command has nothing to start from.

use std::path::PathBuf;

use aip_apply::store::{LoginError, StoreError};
use aip_stack::config::Problems;
use aip_stack::config::fields::IMAGE_DIGEST;
use pulumi_files::{
    BackendError, CrypterError, KeyError, KeyServiceFault, ProjectError, SecretsError,
    StackFileError, StackName, WorkspaceError,
};

use crate::exit::{ErrorExit as _, Exit};

/// Project, stack, stack file or state backend could not be resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    File(#[from] StackFileError),
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// An encrypted value does not open.
    #[error("{path}: {source}")]
    Value { path: String, source: CrypterError },
    #[error("{}: {source}", file.display())]
    Secrets { file: PathBuf, source: SecretsError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Login(#[from] LoginError),
    /// No backend URL in environment, project or workspace.
    #[error("not logged in: run `aip-deploy login s3://BUCKET` (or file://FOLDER)")]
    NotLoggedIn,
    /// No `--stack`, no `PULUMI_STACK`, none selected.
    #[error("no stack selected; please use `aip-deploy stack select` or pass --stack")]
    NoStack,
    #[error("no stack named '{0}' found")]
    UnknownStack(StackName),
    /// The registry has no manifest of that name.
    #[error(
        "{field}: the registry has no {image} ({answer}): push it, or name another one: aip-deploy config set \
         --path {field}. Some registries say so of what may not be read: `docker login` if it is there; \
         `aip-deploy config set --path {} off` deploys without asking",
        IMAGE_DIGEST.path()
    )]
    NoSuchImage {
        image: String,
        /// What the registry said.
        answer: String,
        /// The field of the stack file that names the tag.
        field: &'static str,
    },
    #[error("conflicting stacks: the argument names `{0}`, --stack names `{1}`")]
    TwoStacks(StackName, StackName),
}

impl ContextError {
    pub(crate) fn exit(&self) -> Exit {
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
            | Self::Value { .. }
            | Self::NoSuchImage { .. }
            | Self::TwoStacks(..) => Exit::Usage,
        }
    }
}

/// Where secrets cannot be opened: the key service refuses, is not reached, or the file is wrong.
fn secrets_exit(error: &SecretsError) -> Exit {
    match error {
        SecretsError::KeyService(error) => match error.fault {
            KeyServiceFault::Denied => Exit::Authentication,
            KeyServiceFault::Misconfigured => Exit::Usage,
            KeyServiceFault::Unavailable => Exit::Failed,
        },
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
