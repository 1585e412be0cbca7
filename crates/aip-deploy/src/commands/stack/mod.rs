//! `stack`: which stacks there are, which one is selected, what happened to it.

mod export;
mod history;
mod init;
mod lifecycle;
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
#[command(after_help = examples!["stack", "stack --show-name", "stack ls"])]
pub(crate) struct StackArgs {
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
    #[command(after_help = examples!["stack unselect"])]
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
    #[command(after_help = examples!["stack export > state.json", "stack export --stack main"])]
    Export,
    /// Re-encrypt the values of the stack with another key or passphrase
    ChangeSecretsProvider(provider::ProviderArgs),
}

/// A failed `stack` command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StackError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Name(#[from] StackNameError),
    #[error("stack '{0}' already exists")]
    Exists(String),
    #[error(
        "'{stack}' still has {count} objects in the cluster: run `aip-deploy destroy` first (--force leaves \
         them behind)"
    )]
    HasObjects { stack: String, count: usize },
    #[error("confirmation declined, not removing the stack")]
    Declined,
    #[error("pass --yes to proceed in non-interactive mode")]
    NeedsYes,
    #[error("{} belongs to the project `{name}`: omit --project", file.display())]
    OtherProject {
        file: std::path::PathBuf,
        name: String,
    },
    #[error("missing stack name: aip-deploy stack init NAME")]
    NoName,
    #[error("stack '{stack}' has no output named '{name}'")]
    NoOutput { stack: String, name: String },
    #[error("the load balancer has no address yet; this takes a few minutes after the first `up`")]
    NoAddress,
    #[error(transparent)]
    Cluster(#[from] Box<CommandError>),
    #[error("the answer could not be read: {0}")]
    Input(#[source] std::io::Error),
    #[error("{path}: {source}", path = path.display())]
    File {
        path: std::path::PathBuf,
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
    pub(crate) fn exit(&self) -> Exit {
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
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), StackError> {
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
