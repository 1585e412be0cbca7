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
#[command(after_help = examples!["config", "config --show-secrets", "config --json --stack main"])]
pub(crate) struct ConfigArgs {
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
    #[command(after_help = examples!["config check", "config check --stack main"])]
    Check,
    /// Print the JSON Schema of a stack file, for editors
    #[command(after_help = examples!["config schema > stack.schema.json"])]
    Schema,
}

/// A failed `config` command; the stack file is unchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    File(#[from] StackFileError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Crypter(#[from] CrypterError),
    #[error("configuration key '{key}' not found for stack '{stack}'")]
    NotFound { key: String, stack: String },
    #[error("`{key}`: {source}")]
    Type { key: String, source: CoerceError },
    #[error("`{key}` must be {expected}")]
    Shape { key: String, expected: String },
    /// No argument, nothing on standard input, no terminal.
    #[error("config value must be specified in non-interactive mode")]
    NoValue,
    #[error("the value could not be read: {0}")]
    Input(#[source] std::io::Error),
    #[error(
        "config value for '{0}' looks like a secret; rerun with --secret to encrypt it, or --plaintext if you \
         meant to store in plaintext"
    )]
    LooksSecret(String),
    #[error(
        "the history of stack '{0}' has no successful deployment to restore the configuration from"
    )]
    NeverDeployed(String),
    #[error(
        "revision {revision} was encrypted with another key than the current stack file, and that key cannot \
         be used: {reason}; nothing was changed. Run the command again with the passphrase or KMS permissions \
         of that revision"
    )]
    Sealed { revision: u64, reason: String },
    #[error("{0}")]
    Argument(String),
}

from_context_errors!(ConfigError: StoreError);

impl ConfigError {
    pub(crate) fn exit(&self) -> Exit {
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
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
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
                ctx.screen.json(&schema(&name));
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
