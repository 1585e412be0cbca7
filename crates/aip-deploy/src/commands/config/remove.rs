//! `config rm` and `config rm-all`.

use clap::Args;

use super::ConfigError;
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples![
    "config rm k8s_context",
    "config rm --path aip_config.autoscaling",
])]
pub(super) struct RemoveArgs {
    /// The key, or with --path a property path
    key: String,
    /// Treat the key as a property path
    #[arg(long)]
    path: bool,
}

#[derive(Debug, Args)]
#[command(after_help = examples![
    "config rm-all first second",
    "config rm-all --path aip_config.autoscaling aip_config.pull_secrets",
])]
pub(super) struct RemoveAllArgs {
    /// The keys
    #[arg(required = true)]
    keys: Vec<String>,
    /// Treat the keys as property paths
    #[arg(long)]
    path: bool,
}

impl RemoveArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        remove(ctx, &[self.key], self.path).await
    }
}

impl RemoveAllArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        remove(ctx, &self.keys, self.path).await
    }
}

/// Removes values; one that is not there is fine.
async fn remove(ctx: &Context, keys: &[String], path: bool) -> Result<(), ConfigError> {
    let stack = ctx.stack().await?;
    let mut file = stack.load()?;
    for key in keys {
        file.remove(&stack.config_path(key, path)?)?;
    }
    Ok(file.save()?)
}
