//! `config rm` and `config rm-all`.

use clap::Args;

use super::ConfigError;
use crate::selection::Selection;

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The key, or with --path a key and the way into its value
    key: String,
    /// The key is a path
    #[arg(long)]
    path: bool,
}

#[derive(Debug, Args)]
pub(super) struct RemoveAllArgs {
    /// The keys
    #[arg(required = true)]
    keys: Vec<String>,
    /// The keys are paths
    #[arg(long)]
    path: bool,
}

impl RemoveArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), ConfigError> {
        remove(selection, &[self.key], self.path).await
    }
}

impl RemoveAllArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), ConfigError> {
        remove(selection, &self.keys, self.path).await
    }
}

/// Removes values; one that is not there is fine.
async fn remove(selection: &Selection, keys: &[String], path: bool) -> Result<(), ConfigError> {
    let project = selection.project()?;
    let stack = selection.stack(&project).await?;
    let mut file = selection.stack_file(&project, &stack)?;
    for key in keys {
        file.remove(&Selection::config_path(&project, key, path)?)?;
    }
    Ok(file.save()?)
}
