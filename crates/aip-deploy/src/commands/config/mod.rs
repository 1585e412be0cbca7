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

use aip_apply::store::StoreError;
use aip_stack::config::schema;
use clap::{Args, Subcommand};
use pulumi_files::coerce::CoerceError;
use pulumi_files::{CrypterError, KeyError, ProjectError, StackFileError};

use crate::context::{Context, ContextError, SecretsMode, from_context_errors};
use crate::exit::Exit;

/// Manage the configuration of a stack
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print a value
    Get(get::GetArgs),
    /// Set a value; if omitted, it is read from standard input or prompted for
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
    /// Restore the stack file of the last successful deployment
    Refresh(refresh::RefreshArgs),
    /// Validate the configuration and report every problem
    Check,
    /// Print the JSON Schema of a stack file, for editors
    Schema,
}

/// A failed `config` command; the stack file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Project, stack, stack file or state backend could not be resolved.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The stack file could not be read, edited or saved.
    #[error(transparent)]
    File(#[from] StackFileError),
    /// A key or path.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An encrypted value could not be decrypted.
    #[error(transparent)]
    Crypter(#[from] CrypterError),
    /// The stack has no value under this key.
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
        /// The expected type.
        source: CoerceError,
    },
    /// The value does not fit its field.
    #[error("`{key}` must be {expected}")]
    Shape {
        /// The key.
        key: String,
        /// The expected type.
        expected: String,
    },
    /// No argument, nothing on standard input, no terminal.
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
        "the history of stack '{0}' has no successful deployment to restore the configuration from"
    )]
    NeverDeployed(String),
    /// The values of that time are under a key that is not at hand.
    #[error(
        "revision {revision} was encrypted with another key than the current stack file, and that key cannot \
         be used: {reason}; nothing was changed. Run the command again with the passphrase or KMS permissions \
         of that revision"
    )]
    Sealed {
        /// The revision.
        revision: u64,
        /// Why its key is not available.
        reason: String,
    },
    /// An argument is not what it should be.
    #[error("{0}")]
    Argument(String),
}

from_context_errors!(ConfigError: StoreError);

impl ConfigError {
    /// Exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Context(error) => error.exit(),
            Self::NotFound { .. }
            | Self::NoValue
            | Self::Input(_)
            | Self::LooksSecret(_)
            | Self::NeverDeployed(_)
            | Self::Sealed { .. }
            | Self::File(StackFileError::Io { .. } | StackFileError::ChangedMeanwhile { .. }) => {
                Exit::Failed
            }
            Self::File(
                StackFileError::NotUtf8 { .. }
                | StackFileError::Yaml { .. }
                | StackFileError::Shape { .. }
                | StackFileError::Edit { .. },
            )
            | Self::Key(_)
            | Self::Crypter(_)
            | Self::Type { .. }
            | Self::Shape { .. }
            | Self::Argument(_) => Exit::Usage,
        }
    }
}

impl ConfigArgs {
    /// Dispatches to the subcommand.
    pub async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        if self.command.is_some() && self.list.is_given() {
            let message =
                "--json and --show-secrets have no effect before a subcommand: put them after it";
            return Err(ConfigError::Argument(message.to_owned()));
        }
        match self.command {
            None => self.list.run(ctx).await,
            Some(ConfigCommand::Get(args)) => args.run(ctx).await,
            Some(ConfigCommand::Set(args)) => args.run(ctx).await,
            Some(ConfigCommand::Rm(args)) => args.run(ctx).await,
            Some(ConfigCommand::RmAll(args)) => args.run(ctx).await,
            Some(ConfigCommand::Cp(args)) => args.run(ctx).await,
            Some(ConfigCommand::SetAll(args)) => args.run(ctx).await,
            Some(ConfigCommand::Refresh(args)) => args.run(ctx).await,
            Some(ConfigCommand::Check) => check(ctx).await,
            Some(ConfigCommand::Schema) => {
                // Editors may ask before there is a project.
                let name = match ctx.project() {
                    Ok(project) => project.name,
                    Err(ContextError::Project(ProjectError::NotFound { .. })) => "aip".to_owned(),
                    Err(error) => return Err(error.into()),
                };
                ctx.screen.line(format!("{:#}", schema(&name)));
                Ok(())
            }
        }
    }
}

async fn check(ctx: &Context) -> Result<(), ConfigError> {
    let stack = ctx.stack().await?;
    let target = stack.target(ctx, SecretsMode::Decrypted).await?;
    for notice in &target.notices {
        ctx.screen.status(format!("note: {notice}"));
    }
    let count = target.desired.len();
    ctx.screen.status(format!(
        "the configuration of stack '{}' is complete: {count} objects",
        target.stack
    ));
    Ok(())
}
