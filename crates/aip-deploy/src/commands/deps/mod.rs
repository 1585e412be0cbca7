//! `deps`: the servers that the stack uses, moved to other ones.

mod migrate;

use aip_apply::store::StoreError;
use clap::{Args, Subcommand};
use pulumi_files::{CrypterError, StackFileError};

use super::failure::CommandError;
use crate::context::{ContextError, from_context_errors};
use crate::exit::Exit;
use crate::ui::PromptError;

/// Move PostgreSQL into the cluster, out of it, or to another server
#[derive(Debug, Args)]
#[command(after_help = examples![
    "deps migrate postgres --to external",
    "deps migrate postgres --to cnpg --yes",
])]
pub(crate) struct DepsArgs {
    #[command(subcommand)]
    command: DepsCommand,
}

#[derive(Debug, Subcommand)]
enum DepsCommand {
    /// Move the data to another server while the Pods use it: writes are paused for at most 10 s, and nobody
    /// signs in again. Run again, it goes on where it was
    Migrate(migrate::MigrateArgs),
}

/// A failed `deps` command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DepsError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    File(#[from] StackFileError),
    #[error("{path}: {source}")]
    Crypter { path: String, source: CrypterError },
    #[error(transparent)]
    Command(Box<CommandError>),
    #[error(
        "{path} is missing: the URL of the empty database to move to; run `aip-deploy config set --path --secret \
         {path}`"
    )]
    NoNextUrl { path: String },
    #[error(
        "{path} names another database to move to than the Cluster of the stack: run `aip-deploy config rm --path \
         {path}`, or pass --to external"
    )]
    TwoTargets { path: String },
    #[error(
        "aip_config.dependencies.postgres is `cnpg` already, and deployed: there is nothing to move"
    )]
    AlreadyMoved,
    #[error(
        "databases are moved in the profile `restricted` alone: run `aip-deploy config set --path aip_config.profile \
         restricted`, or `aip database move` by hand"
    )]
    Profile,
    #[error("the stack is not deployed, or was destroyed: run `aip-deploy up` first")]
    NothingDeployed,
}

from_context_errors!(DepsError: StoreError);

impl From<CommandError> for DepsError {
    fn from(error: CommandError) -> Self {
        Self::Command(Box::new(error))
    }
}

impl From<PromptError> for DepsError {
    fn from(error: PromptError) -> Self {
        CommandError::from(error).into()
    }
}

impl DepsError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Context(error) => error.exit(),
            Self::Command(error) => error.exit(),
            Self::File(StackFileError::Io { .. } | StackFileError::ChangedMeanwhile { .. })
            | Self::AlreadyMoved
            | Self::NothingDeployed => Exit::Failed,
            Self::File(_)
            | Self::Crypter { .. }
            | Self::NoNextUrl { .. }
            | Self::TwoTargets { .. }
            | Self::Profile => Exit::Usage,
        }
    }
}

impl DepsArgs {
    pub(crate) async fn run(self, ctx: &crate::context::Context) -> Result<(), DepsError> {
        match self.command {
            DepsCommand::Migrate(args) => args.run(ctx).await,
        }
    }
}
