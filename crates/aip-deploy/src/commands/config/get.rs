//! `config get`: one value, decrypted.

use clap::Args;

use super::ConfigError;
use super::value::{self, Show};
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples![
    "config get k8s_context",
    "config get --path aip_config.image_tag",
    "config get --path aip_config.required_env --json",
])]
pub(super) struct GetArgs {
    /// The key, or with --path a property path: `aip_config.image_tag`
    key: String,
    /// Treat the key as a property path
    #[arg(long)]
    path: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl GetArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        let stack = ctx.stack().await?;
        let file = stack.load()?;
        let path = stack.config_path(&self.key, self.path)?;
        let default = stack
            .project
            .defaults
            .iter()
            .find(|default| default.key == path.key);
        let found = match file.get(&path.key) {
            Some(node) => node.at(&path.steps),
            None => default.and_then(|default| default.value.at(&path.steps)),
        };
        let Some(node) = found else {
            return Err(ConfigError::NotFound {
                key: path.display(&stack.project.name),
                stack: stack.name.to_string(),
            });
        };
        let crypter = if node.has_secret() {
            Some(ctx.crypter(&file).await?)
        } else {
            None
        };
        let show = crypter.as_deref().map_or(Show::Hidden, Show::Decrypted);
        if self.json {
            ctx.screen
                .json(&value::entry(node, crypter.is_some(), show)?);
        } else {
            ctx.screen.line(value::text(node, show)?);
        }
        Ok(())
    }
}
