//! `config set-all`: several values in one write.

use std::collections::BTreeMap;

use clap::Args;
use pulumi_files::ConfigPath;
use serde::Deserialize;
use serde_json::Value;
use yaml_lossless::Tree;

use super::ConfigError;
use super::set::typed;
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples![
    "config set-all --plaintext k8s_context=production --plaintext owner=team-a",
    "config set-all --path --plaintext aip_config.replicas=3 --plaintext aip_config.image_tag=v1.2.3",
])]
pub(super) struct SetAllArgs {
    /// KEY=VALUE, stored in plain text
    #[arg(long, value_name = "KEY=VALUE")]
    plaintext: Vec<String>,
    /// KEY=VALUE, encrypted
    #[arg(long, value_name = "KEY=VALUE")]
    secret: Vec<String>,
    /// Treat the keys as property paths
    #[arg(long)]
    path: bool,
    /// Values in the JSON format of `config --json --show-secrets`
    #[arg(long, conflicts_with_all = ["plaintext", "secret", "path"])]
    json: Option<String>,
}

/// An entry of `config --json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonEntry {
    value: Option<String>,
    object_value: Option<Value>,
    #[serde(default)]
    secret: bool,
}

impl SetAllArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        let stack = ctx.stack().await?;
        let mut file = stack.load()?;
        let mut plain: Vec<(ConfigPath, Tree)> = Vec::new();
        let mut secret: Vec<(ConfigPath, String)> = Vec::new();
        for pair in &self.plaintext {
            let (key, value) = split(pair, self.path)?;
            let path = stack.config_path(key, self.path)?;
            let tree = typed(&stack.project, &path, value, &|warning| {
                ctx.screen.status(warning);
            })?;
            plain.push((path, tree));
        }
        for pair in &self.secret {
            let (key, value) = split(pair, self.path)?;
            secret.push((stack.config_path(key, self.path)?, value.to_owned()));
        }
        for (key, given) in self.given()? {
            let path = stack.config_path(&key, false)?;
            match (given.object_value, given.value) {
                (Some(_), _) if given.secret => {
                    let message = format!(
                        "`{key}` mixes secrets with other values, which this JSON cannot tell apart"
                    );
                    return Err(ConfigError::Argument(message));
                }
                (Some(value), _) => plain.push((path, Tree::from(value))),
                (None, Some(value)) if given.secret => secret.push((path, value)),
                (None, Some(value)) => plain.push((path, Tree::String(value))),
                (None, None) => {
                    let message =
                        format!("`{key}` has no value: print the JSON with --show-secrets");
                    return Err(ConfigError::Argument(message));
                }
            }
        }
        for (path, value) in secret {
            let crypter = ctx.crypter_or_new(&mut file).await?;
            plain.push((
                path,
                Tree::secret(crypter.encrypt(&value, ctx.rng.as_ref())?),
            ));
        }
        for (path, tree) in plain {
            file.set(&path, tree)?;
        }
        Ok(file.save()?)
    }

    fn given(&self) -> Result<BTreeMap<String, JsonEntry>, ConfigError> {
        match &self.json {
            None => Ok(BTreeMap::new()),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                ConfigError::Argument(format!(
                    "--json is not what `config --json` prints: {error}"
                ))
            }),
        }
    }
}

/// A pair in its parts. A key that holds a `=` may stand in quotes, as Pulumi has it; in a path, one
/// between brackets and quotes divides nothing either.
fn split(pair: &str, path: bool) -> Result<(&str, &str), ConfigError> {
    let malformed = || ConfigError::Argument("expected KEY=VALUE".to_owned());
    let quote = pair.chars().next().filter(|c| matches!(c, '"' | '\''));
    let parts = match quote {
        Some(quote) => {
            let rest = &pair[quote.len_utf8()..];
            rest.split_once(&format!("{quote}="))
        }
        None if path => assignment_position(pair).map(|at| (&pair[..at], &pair[at + 1..])),
        None => pair.split_once('='),
    };
    parts
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(malformed)
}

/// The first `=` outside of `["…"]`.
fn assignment_position(pair: &str) -> Option<usize> {
    let mut quoted = false;
    let mut before = '\0';
    for (at, c) in pair.char_indices() {
        match c {
            '"' if !quoted && before == '[' => quoted = true,
            '"' if quoted && before != '\\' => quoted = false,
            '=' if !quoted => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_divided_behind_its_key() {
        for (pair, path, key, value) in [
            ("a=b=c", false, "a", "b=c"),
            ("\"a=b\"=c", false, "a=b", "c"),
            ("'ns:a=b'=", false, "ns:a=b", ""),
            ("a[\"b=c\"].d=e", true, "a[\"b=c\"].d", "e"),
            ("a[\"b\\\"=c\"]=d", true, "a[\"b\\\"=c\"]", "d"),
            ("a=[\"x\"]", true, "a", "[\"x\"]"),
        ] {
            assert_eq!(split(pair, path).unwrap(), (key, value), "{pair}");
        }
        for pair in ["", "a", "=b", "\"a=b", "''=c", "\"a\"b=c"] {
            assert!(split(pair, false).is_err(), "{pair}");
        }
    }
}
