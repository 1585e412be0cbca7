//! `stack`: which stacks there are, which one is selected, what happened to it.

mod export;
mod history;
mod init;
mod list;
mod output;
mod provider;
mod remove;
mod select;

use clap::{Args, Subcommand};
use pulumi_files::StackNameError;

use crate::commands::failure::CommandError;
use crate::exit::Exit;
use crate::selection::{Selection, SelectionError};

/// Work with stacks
#[derive(Debug, Args)]
pub struct StackArgs {
    #[command(subcommand)]
    command: Option<StackCommand>,
    /// Print the name of the selected stack alone
    #[arg(long)]
    show_name: bool,
}

#[derive(Debug, Subcommand)]
enum StackCommand {
    /// Make a stack
    #[command(visible_aliases = ["new", "create"])]
    Init(init::InitArgs),
    /// Select the stack that other commands work on
    Select(select::SelectArgs),
    /// Select none
    Unselect,
    /// List the stacks of the project
    #[command(visible_alias = "list")]
    Ls(list::ListArgs),
    /// Forget a stack that has nothing deployed
    Rm(remove::RemoveArgs),
    /// Show what was done to the stack
    History(history::HistoryArgs),
    /// Show what the stack provides
    Output(output::OutputArgs),
    /// Print the state of the stack as JSON
    Export,
    /// Encrypt the values of the stack with another key or passphrase
    ChangeSecretsProvider(provider::ProviderArgs),
}

/// Why a `stack` command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// There is nothing to work on.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The name.
    #[error(transparent)]
    Name(#[from] StackNameError),
    /// The name is taken.
    #[error("stack '{0}' already exists")]
    Exists(String),
    /// There is something deployed.
    #[error(
        "'{stack}' still has {count} objects in the cluster: `aip-deploy destroy` removes them (--force forgets them)"
    )]
    HasObjects {
        /// The stack.
        stack: String,
        /// How many.
        count: usize,
    },
    /// The answer was not the name of the stack.
    #[error("confirmation declined, not removing the stack")]
    Declined,
    /// Nobody to ask.
    #[error("pass --yes to go on without a question in non-interactive mode")]
    NeedsYes,
    /// The folder belongs to another project.
    #[error("{} belongs to the project `{name}`: leave --project out", file.display())]
    OtherProject {
        /// The project file.
        file: std::path::PathBuf,
        /// The project's name.
        name: String,
    },
    /// Nobody said how the stack is to be called.
    #[error("a name is needed: aip-deploy stack init NAME")]
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
    #[error("the load balancer has no address yet; that takes some minutes after the first `up`")]
    NoAddress,
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] Box<CommandError>),
    /// The terminal.
    #[error("the answer could not be read: {0}")]
    Input(#[source] std::io::Error),
    /// A file that should go.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl StackError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Selection(error) => error.exit(),
            Self::Cluster(error) => error.exit(),
            Self::Name(_) | Self::NeedsYes | Self::NoName | Self::OtherProject { .. } => {
                Exit::Usage
            }
            _ => Exit::Failed,
        }
    }
}

impl StackArgs {
    /// Runs the command; without one, the selected stack is shown.
    pub async fn run(self, selection: &Selection) -> Result<(), StackError> {
        match self.command {
            None => select::show(selection, self.show_name).await,
            Some(StackCommand::Init(args)) => args.run(selection).await,
            Some(StackCommand::Select(args)) => args.run(selection).await,
            Some(StackCommand::Unselect) => select::unselect(selection),
            Some(StackCommand::Ls(args)) => args.run(selection).await,
            Some(StackCommand::Rm(args)) => args.run(selection).await,
            Some(StackCommand::History(args)) => args.run(selection).await,
            Some(StackCommand::Output(args)) => args.run(selection).await,
            Some(StackCommand::Export) => export::run(selection).await,
            Some(StackCommand::ChangeSecretsProvider(args)) => args.run(selection).await,
        }
    }
}
