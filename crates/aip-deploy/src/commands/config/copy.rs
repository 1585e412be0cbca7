//! `config cp`: values of one stack for another, encrypted for it.

use clap::Args;
use pulumi_files::{ConfigPath, Crypter, StackName};
use secrecy::ExposeSecret as _;
use yaml_lossless::{Content, Node, Tree};

use super::ConfigError;
use crate::context::{Context, ContextError};

#[derive(Debug, Args)]
#[command(after_help = examples![
    "config cp --dest staging",
    "config cp --stack main --dest staging --path aip_config.required_env",
])]
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
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        let stack = ctx.stack().await?;
        let destination = StackName::of_reference(&self.dest, &stack.project.name)
            .map_err(|error| ConfigError::Argument(error.to_string()))?;
        if destination == stack.name {
            return Err(ConfigError::Argument(
                "source and destination stack are the same: choose another --dest".to_owned(),
            ));
        }
        ctx.require(&stack.project, &destination).await?;
        let from = stack.load()?;
        let mut to = pulumi_files::StackFile::load(
            &stack.project.stack_file(&destination),
            &stack.project.name,
        )?;
        let values: Vec<(ConfigPath, &Node)> = match &self.key {
            Some(key) => {
                let path = stack.config_path(key, self.path)?;
                let missing = || ConfigError::NotFound {
                    key: path.display(&stack.project.name),
                    stack: stack.name.to_string(),
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
        let crypters = if values.iter().any(|(_, node)| node.has_secret()) {
            let old = ctx.crypter(&from).await?;
            let in_file = |source| ContextError::Secrets {
                file: stack.project.stack_file(&destination),
                source,
            };
            let new = ctx
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
                Some((old, new)) => sealed_again(node, old, new, ctx)?,
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
    ctx: &Context,
) -> Result<Tree, ConfigError> {
    if let Some(ciphertext) = node.secret() {
        let value = old.decrypt(ciphertext)?;
        return Ok(Tree::secret(
            new.encrypt(value.expose_secret(), ctx.rng.as_ref())?,
        ));
    }
    match &node.content {
        Content::Scalar(_) => Ok(node.to_tree()),
        Content::List(items) => {
            let items = items.iter().map(|item| sealed_again(item, old, new, ctx));
            Ok(Tree::List(items.collect::<Result<_, _>>()?))
        }
        Content::Map(pairs) => {
            let pairs = pairs.iter().map(|pair| {
                Ok((
                    pair.name().to_owned(),
                    sealed_again(&pair.value, old, new, ctx)?,
                ))
            });
            Ok(Tree::Map(pairs.collect::<Result<_, ConfigError>>()?))
        }
    }
}
