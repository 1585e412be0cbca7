//! `config`: the values of a stack, on the words and with the effects of Pulumi's commands of the
//! same names.

mod copy;
mod get;
mod list;
mod looks_secret;
mod refresh;
mod remove;
mod set;
mod set_all;
mod value;

use clap::{Args, Subcommand};
use pulumi_files::coerce::CoerceError;
use pulumi_files::{CrypterError, KeyError, ProjectError, StackFileError};

use crate::config::schema;
use crate::exit::Exit;
use crate::selection::{Selection, SelectionError};

/// Show and change the values of a stack.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show one value
    Get(get::GetArgs),
    /// Set a value; without one it is read from standard input or asked for
    Set(set::SetArgs),
    /// Remove a value
    #[command(visible_aliases = ["remove", "delete"])]
    Rm(remove::RemoveArgs),
    /// Remove several values
    #[command(visible_aliases = ["remove-all", "delete-all"])]
    RmAll(remove::RemoveAllArgs),
    /// Copy values to another stack, encrypted for it
    #[command(visible_alias = "copy")]
    Cp(copy::CopyArgs),
    /// Set several values at once
    SetAll(set_all::SetAllArgs),
    /// Take the configuration of the last successful deployment back into the stack file
    Refresh(refresh::RefreshArgs),
    /// Check the configuration, and say everything that is wrong with it
    Check,
    /// Print the JSON Schema of a stack file, for editors
    Schema,
}

/// Why a `config` command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no stack to work on.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The file does not take the change.
    #[error(transparent)]
    File(#[from] StackFileError),
    /// A key or path.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A secret does not open.
    #[error(transparent)]
    Crypter(#[from] CrypterError),
    /// There is no such value.
    #[error("configuration key '{key}' not found for stack '{stack}'")]
    NotFound {
        /// The key.
        key: String,
        /// The stack.
        stack: String,
    },
    /// The value does not have its field's type.
    #[error("`{key}`: {source}")]
    Type {
        /// The key.
        key: String,
        /// What it should be.
        source: CoerceError,
    },
    /// The value does not fit its field.
    #[error("`{key}` must be {wanted}")]
    Shape {
        /// The key.
        key: String,
        /// What it should be.
        wanted: String,
    },
    /// Nobody said what the value is.
    #[error("config value must be specified in non-interactive mode")]
    NoValue,
    /// Standard input or the terminal.
    #[error("the value could not be read: {0}")]
    Input(#[source] std::io::Error),
    /// A plain value that should be encrypted.
    #[error(
        "config value for '{0}' looks like a secret; rerun with --secret to encrypt it, or --plaintext if you \
         meant to store in plaintext"
    )]
    LooksSecret(String),
    /// The history has nothing to take the configuration from.
    #[error(
        "the history of stack '{0}' has no successful deployment to take the configuration from"
    )]
    NeverDeployed(String),
    /// The values of that time are under a key that is not at hand.
    #[error(
        "revision {revision} was encrypted with another key than the stack file is now, and that key does not \
         open: {reason}; nothing is changed. Run it again with the passphrase or the rights of that time"
    )]
    Sealed {
        /// The revision.
        revision: u64,
        /// Why it does not open.
        reason: String,
    },
    /// An argument is not what it should be.
    #[error("{0}")]
    Argument(String),
}

impl ConfigError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Selection(error) => error.exit(),
            Self::NotFound { .. }
            | Self::NoValue
            | Self::Input(_)
            | Self::LooksSecret(_)
            | Self::NeverDeployed(_)
            | Self::Sealed { .. }
            | Self::File(StackFileError::Io { .. } | StackFileError::ChangedMeanwhile { .. }) => {
                Exit::Failed
            }
            _ => Exit::Usage,
        }
    }
}

impl ConfigArgs {
    /// Runs the command.
    pub async fn run(self, selection: &Selection) -> Result<(), ConfigError> {
        if self.command.is_some() && self.list.is_given() {
            let message =
                "--json and --show-secrets before a subcommand have no effect: put them behind it";
            return Err(ConfigError::Argument(message.to_owned()));
        }
        match self.command {
            None => self.list.run(selection).await,
            Some(ConfigCommand::Get(args)) => args.run(selection).await,
            Some(ConfigCommand::Set(args)) => args.run(selection).await,
            Some(ConfigCommand::Rm(args)) => args.run(selection).await,
            Some(ConfigCommand::RmAll(args)) => args.run(selection).await,
            Some(ConfigCommand::Cp(args)) => args.run(selection).await,
            Some(ConfigCommand::SetAll(args)) => args.run(selection).await,
            Some(ConfigCommand::Refresh(args)) => args.run(selection).await,
            Some(ConfigCommand::Check) => check(selection).await,
            Some(ConfigCommand::Schema) => {
                // Editors may ask before there is a project.
                let name = match selection.project() {
                    Ok(project) => project.name,
                    Err(SelectionError::Project(ProjectError::NotFound { .. })) => "aip".to_owned(),
                    Err(error) => return Err(error.into()),
                };
                selection.terminal.data(&format!("{:#}", schema(&name)));
                Ok(())
            }
        }
    }
}

async fn check(selection: &Selection) -> Result<(), ConfigError> {
    let target = selection.target(crate::selection::Reveal::Values).await?;
    for notice in &target.notices {
        selection.terminal.talk(&format!("note: {notice}"));
    }
    let count = target.desired.len();
    selection.terminal.talk(&format!(
        "the configuration of stack '{}' is complete: {count} objects",
        target.stack
    ));
    Ok(())
}
