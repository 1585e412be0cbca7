//! How a command ends: the numbers of Pulumi, with those it reserves in use, and which error of the
//! engine has which.

use aip_apply::apply::ApplyError;
use aip_apply::cluster::{ApiError, ConnectError, GuardError};
use aip_apply::plan::Incomplete;
use aip_apply::rollout::FollowError;
use aip_apply::store::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success = 0,
    /// It failed, or somebody said no.
    Failed = 1,
    /// The command line or a file is wrong. Nothing was done.
    Usage = 2,
    /// Not logged in, or refused.
    Authentication = 3,
    Rollout = 4,
    /// No stack, or none of that name.
    Stack = 6,
    /// There are changes although none were expected.
    Changes = 7,
    Cancelled = 8,
    TimedOut = 9,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code of a command that fails with it.
pub(crate) trait ErrorExit {
    fn exit(&self) -> Exit;
}

impl ErrorExit for ApiError {
    fn exit(&self) -> Exit {
        match self {
            Self::Status(status) if status.code == 401 => Exit::Authentication,
            Self::Credentials(_) => Exit::Authentication,
            Self::Status(_) | Self::Unreachable(_) | Self::Timeout(_) | Self::Unreadable(_) => {
                Exit::Failed
            }
        }
    }
}

impl ErrorExit for ConnectError {
    fn exit(&self) -> Exit {
        match self {
            Self::Credentials { .. } => Exit::Authentication,
            Self::NoKubeconfig
            | Self::Unreadable { .. }
            | Self::NoContext { .. }
            | Self::Unusable { .. } => Exit::Failed,
        }
    }
}

impl ErrorExit for GuardError {
    fn exit(&self) -> Exit {
        match self {
            Self::Connect(error) => error.exit(),
            Self::Identity { source, .. } => source.exit(),
            Self::Store(error) => error.exit(),
            Self::AnotherCluster { .. } | Self::NotPinned => Exit::Failed,
        }
    }
}

impl ErrorExit for StoreError {
    fn exit(&self) -> Exit {
        match self {
            Self::Denied { .. } => Exit::Authentication,
            Self::Unreachable { .. } | Self::Corrupt { .. } | Self::Contended { .. } => {
                Exit::Failed
            }
        }
    }
}

impl ErrorExit for Incomplete {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::Conflicts(_) => Exit::Failed,
            Self::Paused { .. } => Exit::Rollout,
        }
    }
}

impl ErrorExit for FollowError {
    fn exit(&self) -> Exit {
        match self {
            Self::Gone(_) => Exit::Rollout,
            Self::Refused(error) => error.exit(),
        }
    }
}

impl ErrorExit for ApplyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Object { source, .. } | Self::Api(source) => source.exit(),
            Self::Dependency(_)
            | Self::Migration(_)
            | Self::Rekey(_)
            | Self::DatabaseMove(_)
            | Self::Rollout(_) => Exit::Rollout,
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::Follow(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::BeingDeleted { .. } | Self::LeaseLost(_) => Exit::Failed,
        }
    }
}
