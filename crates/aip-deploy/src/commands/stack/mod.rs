//! `stack`: which stacks there are, which one is selected, what happened to it.

mod export;
mod history;
mod init;
mod list;
mod output;
mod provider;
mod remove;
mod select;

use aip_apply::store::StoreError;
use clap::{Args, Subcommand};
use pulumi_files::{ProjectError, StackFileError, StackNameError, WorkspaceError};

use crate::commands::failure::CommandError;
use crate::context::from_context_errors;
use crate::context::{Context, ContextError};
use crate::exit::Exit;
use crate::ui::PromptError;

/// Manage stacks
#[derive(Debug, Args)]
pub struct StackArgs {
    #[command(subcommand)]
    command: Option<StackCommand>,
    /// Print only the name of the selected stack
    #[arg(long)]
    show_name: bool,
}

#[derive(Debug, Subcommand)]
enum StackCommand {
    /// Create a stack
    #[command(visible_aliases = ["new", "create"])]
    Init(init::InitArgs),
    /// Select the current stack
    Select(select::SelectArgs),
    /// Deselect the current stack
    Unselect,
    /// List the stacks of the project
    #[command(visible_alias = "list")]
    Ls(list::ListArgs),
    /// Remove a stack and its configuration
    Rm(remove::RemoveArgs),
    /// Show the deployment history of the stack
    History(history::HistoryArgs),
    /// Show the outputs of the stack
    Output(output::OutputArgs),
    /// Print the state of the stack as JSON
    Export,
    /// Re-encrypt the values of the stack with another key or passphrase
    ChangeSecretsProvider(provider::ProviderArgs),
}

/// A failed `stack` command.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Project, stack, stack file or state backend could not be resolved.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The stack name is invalid.
    #[error(transparent)]
    Name(#[from] StackNameError),
    /// A stack of this name has a file or state.
    #[error("stack '{0}' already exists")]
    Exists(String),
    /// There is something deployed.
    #[error(
        "'{stack}' still has {count} objects in the cluster: run `aip-deploy destroy` first (--force leaves \
         them behind)"
    )]
    HasObjects {
        /// The stack.
        stack: String,
        /// Objects in the inventory.
        count: usize,
    },
    /// The answer was not the name of the stack.
    #[error("confirmation declined, not removing the stack")]
    Declined,
    /// The terminal is not interactive and `--yes` was not given.
    #[error("pass --yes to proceed in non-interactive mode")]
    NeedsYes,
    /// The folder belongs to another project.
    #[error("{} belongs to the project `{name}`: omit --project", file.display())]
    OtherProject {
        /// The project file.
        file: std::path::PathBuf,
        /// The project's name.
        name: String,
    },
    /// Nobody said how the stack is to be called.
    #[error("missing stack name: aip-deploy stack init NAME")]
    NoName,
    /// There is no such output.
    #[error("stack '{stack}' has no output named '{name}'")]
    NoOutput {
        /// The stack.
        stack: String,
        /// The output.
        name: String,
    },
    /// The load balancer is not there yet.
    #[error("the load balancer has no address yet; this takes a few minutes after the first `up`")]
    NoAddress,
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] Box<CommandError>),
    /// The terminal.
    #[error("the answer could not be read: {0}")]
    Input(#[source] std::io::Error),
    /// The stack file could not be deleted.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The underlying error.
        source: std::io::Error,
    },
}

from_context_errors!(StackError: ProjectError, StackFileError, StoreError, WorkspaceError);

impl From<PromptError> for StackError {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::Terminal(error) => Self::Input(error),
            PromptError::NotInteractive | PromptError::Cancelled => Self::NeedsYes,
        }
    }
}

impl StackError {
    /// Exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Context(error) => error.exit(),
            Self::Cluster(error) => error.exit(),
            Self::Name(_) | Self::NeedsYes | Self::NoName | Self::OtherProject { .. } => {
                Exit::Usage
            }
            Self::Exists(_)
            | Self::HasObjects { .. }
            | Self::Declined
            | Self::NoOutput { .. }
            | Self::NoAddress
            | Self::Input(_)
            | Self::File { .. } => Exit::Failed,
        }
    }
}

impl StackArgs {
    /// Runs the command; without one, the selected stack is shown.
    pub async fn run(self, ctx: &Context) -> Result<(), StackError> {
        match self.command {
            None => select::show(ctx, self.show_name).await,
            Some(StackCommand::Init(args)) => args.run(ctx).await,
            Some(StackCommand::Select(args)) => args.run(ctx).await,
            Some(StackCommand::Unselect) => select::unselect(ctx),
            Some(StackCommand::Ls(args)) => args.run(ctx).await,
            Some(StackCommand::Rm(args)) => args.run(ctx).await,
            Some(StackCommand::History(args)) => args.run(ctx).await,
            Some(StackCommand::Output(args)) => args.run(ctx).await,
            Some(StackCommand::Export) => export::run(ctx).await,
            Some(StackCommand::ChangeSecretsProvider(args)) => args.run(ctx).await,
        }
    }
}
