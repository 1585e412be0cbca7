//! `config rm` and `config rm-all`.

use clap::Args;

use super::ConfigError;
use crate::cli_context::CliContext;

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The key, or with --path a property path
    key: String,
    /// Treat the key as a property path
    #[arg(long)]
    path: bool,
}

#[derive(Debug, Args)]
pub(super) struct RemoveAllArgs {
    /// The keys
    #[arg(required = true)]
    keys: Vec<String>,
    /// Treat the keys as property paths
    #[arg(long)]
    path: bool,
}

impl RemoveArgs {
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), ConfigError> {
        remove(cli, &[self.key], self.path).await
    }
}

impl RemoveAllArgs {
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), ConfigError> {
        remove(cli, &self.keys, self.path).await
    }
}

/// Removes values; one that is not there is fine.
async fn remove(cli: &CliContext, keys: &[String], path: bool) -> Result<(), ConfigError> {
    let project = cli.project()?;
    let stack = cli.stack(&project).await?;
    let mut file = cli.stack_file(&project, &stack)?;
    for key in keys {
        file.remove(&CliContext::config_path(&project, key, path)?)?;
    }
    Ok(file.save()?)
}
