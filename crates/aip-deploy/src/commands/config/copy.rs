//! `config cp`: values of one stack for another, encrypted for it.

use clap::Args;
use pulumi_files::yaml::{Content, Node, Tree};
use pulumi_files::{ConfigPath, Crypter, StackName};
use secrecy::ExposeSecret as _;

use super::ConfigError;
use super::value;
use crate::cli_context::{CliContext, CliContextError};

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// The key; without it, all values are copied
    key: Option<String>,
    /// The stack to copy to
    #[arg(short, long)]
    dest: String,
    /// Treat the key as a property path
    #[arg(long)]
    path: bool,
}

impl CopyArgs {
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), ConfigError> {
        let project = cli.project()?;
        let stack = cli.stack(&project).await?;
        let destination = StackName::of_reference(&self.dest, &project.name)
            .map_err(|error| ConfigError::Argument(error.to_string()))?;
        if destination == stack {
            return Err(ConfigError::Argument(
                "source and destination stack are the same: choose another --dest".to_owned(),
            ));
        }
        cli.require(&project, &destination).await?;
        let from = cli.stack_file(&project, &stack)?;
        let mut to =
            pulumi_files::StackFile::load(&project.stack_file(&destination), &project.name)?;
        let values: Vec<(ConfigPath, &Node)> = match &self.key {
            Some(key) => {
                let path = CliContext::config_path(&project, key, self.path)?;
                let missing = || ConfigError::NotFound {
                    key: path.display(&project.name),
                    stack: stack.to_string(),
                };
                let node = from.at(&path).ok_or_else(missing)?;
                vec![(path, node)]
            }
            None => from
                .entries()
                .into_iter()
                .map(|entry| {
                    (
                        ConfigPath {
                            key: entry.key,
                            steps: Vec::new(),
                        },
                        entry.value,
                    )
                })
                .collect(),
        };
        let crypters = if values.iter().any(|(_, node)| value::has_secret(node)) {
            let old = cli.crypter(&from).await?;
            let in_file = |source| CliContextError::Secrets {
                file: project.stack_file(&destination),
                source,
            };
            let new = cli
                .keyring()
                .open_or_create(&mut to)
                .await
                .map_err(in_file)?;
            Some((old, new))
        } else {
            None
        };
        for (path, node) in values {
            let tree = match &crypters {
                Some((old, new)) => sealed_again(node, old, new, cli)?,
                None => node.to_tree(),
            };
            to.set(&path, tree)?;
        }
        Ok(to.save()?)
    }
}

/// The value with every secret under the other stack's key.
fn sealed_again(
    node: &Node,
    old: &Crypter,
    new: &Crypter,
    cli: &CliContext,
) -> Result<Tree, ConfigError> {
    if let Some(ciphertext) = node.secret() {
        let value = old.decrypt(ciphertext)?;
        return Ok(Tree::secret(
            new.encrypt(value.expose_secret(), cli.rng.as_ref())?,
        ));
    }
    match &node.content {
        Content::Scalar(_) => Ok(node.to_tree()),
        Content::List(items) => {
            let items = items.iter().map(|item| sealed_again(item, old, new, cli));
            Ok(Tree::List(items.collect::<Result<_, _>>()?))
        }
        Content::Map(pairs) => {
            let pairs = pairs.iter().map(|pair| {
                Ok((
                    pair.name().to_owned(),
                    sealed_again(&pair.value, old, new, cli)?,
                ))
            });
            Ok(Tree::Map(pairs.collect::<Result<_, ConfigError>>()?))
        }
    }
}
