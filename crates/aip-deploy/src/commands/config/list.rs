//! `config`: every value of the stack, and those of the project that it does not set.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value, json};
use yaml_lossless::Node;

use super::ConfigError;
use super::value::{self, Show};
use crate::context::Context;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Show secrets decrypted
    #[arg(long)]
    show_secrets: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl ListArgs {
    pub(super) fn is_given(&self) -> bool {
        self.show_secrets || self.json
    }

    pub(super) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        let stack = ctx.stack().await?;
        let file = stack.load()?;
        let mut values: BTreeMap<String, (&Node, bool)> = BTreeMap::new();
        for default in &stack.project.defaults {
            values.insert(default.key.to_string(), (&default.value, default.secret));
        }
        for entry in file.entries() {
            if entry.value.is_null() {
                let name = entry.key.display(&stack.project.name);
                ctx.screen.status(format!(
                    "warning: `{name}` has no value and is treated as an empty string"
                ));
            }
            values.insert(entry.key.to_string(), (entry.value, false));
        }
        let crypter = if self.show_secrets && !file.secrets().is_empty() {
            Some(ctx.crypter(&file).await?)
        } else {
            None
        };
        let show = crypter.as_deref().map_or(Show::Hidden, Show::Decrypted);
        if self.json {
            let mut out = Map::new();
            for (key, (node, secret)) in values {
                out.insert(key, entry_json(node, secret, self.show_secrets, show)?);
            }
            ctx.screen.json(&Value::Object(out));
            return Ok(());
        }
        let mut rows = Vec::new();
        let prefix = format!("{}:", stack.project.name);
        for (key, (node, secret)) in values {
            let text = if secret && !self.show_secrets {
                "[secret]".to_owned()
            } else {
                value::text(node, show)?
            };
            rows.push([key.strip_prefix(&prefix).unwrap_or(&key).to_owned(), text]);
        }
        ctx.screen.table(["KEY", "VALUE"], rows);
        Ok(())
    }
}

fn entry_json(
    node: &Node,
    secret: bool,
    show_secrets: bool,
    show: Show<'_>,
) -> Result<Value, ConfigError> {
    let secret = secret || node.has_secret();
    if secret && !show_secrets {
        return Ok(json!({"secret": true}));
    }
    Ok(value::entry(node, secret, show)?)
}
