//! `config get`: one value, decrypted.

use clap::Args;
use serde_json::json;

use super::ConfigError;
use super::value::{self, Show};
use crate::context::Context;

#[derive(Debug, Args)]
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
        let secret = value::has_secret(node);
        let crypter = if secret {
            Some(ctx.crypter(&file).await?)
        } else {
            None
        };
        let show = crypter.as_deref().map_or(Show::Hidden, Show::Decrypted);
        let text = value::text(node, show)?;
        if !self.json {
            ctx.screen.line(&text);
            return Ok(());
        }
        let mut entry = json!({"value": text, "secret": secret});
        if node.scalar().is_none() && node.secret().is_none() {
            entry["objectValue"] = value::json(node, show)?;
        }
        ctx.screen.line(format!("{entry:#}"));
        Ok(())
    }
}
