//! `config get`: one value, decrypted.

use clap::Args;
use serde_json::json;

use super::ConfigError;
use super::value::{self, Show};
use crate::selection::Selection;

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The key, or with --path a key and the way into its value: `aip_config.image_tag`
    key: String,
    /// The key is a path
    #[arg(long)]
    path: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl GetArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), ConfigError> {
        let project = selection.project()?;
        let stack = selection.stack(&project).await?;
        let file = selection.stack_file(&project, &stack)?;
        let path = Selection::config_path(&project, &self.key, self.path)?;
        let default = project
            .defaults
            .iter()
            .find(|default| default.key == path.key);
        let found = match file.get(&path.key) {
            Some(node) => node.at(&path.steps),
            None => default.and_then(|default| default.value.at(&path.steps)),
        };
        let Some(node) = found else {
            return Err(ConfigError::NotFound {
                key: path.display(&project.name),
                stack: stack.to_string(),
            });
        };
        let secret = value::has_secret(node);
        let crypter = if secret {
            Some(selection.crypter(&file).await?)
        } else {
            None
        };
        let show = crypter.as_deref().map_or(Show::Hidden, Show::Decrypted);
        let text = value::text(node, show)?;
        if !self.json {
            selection.terminal.data(&text);
            return Ok(());
        }
        let mut entry = json!({"value": text, "secret": secret});
        if node.scalar().is_none() && node.secret().is_none() {
            entry["objectValue"] = value::json(node, show)?;
        }
        selection.terminal.data(&format!("{entry:#}"));
        Ok(())
    }
}
