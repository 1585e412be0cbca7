//! `config set`: one value, of the type its field has.

use aip_stack::config::{Shape, shape_at};
use clap::{Args, ValueEnum};
use pulumi_files::coerce::{ValueType, by_look};
use pulumi_files::{ConfigPath, Project};
use secrecy::{ExposeSecret as _, SecretString};
use yaml_lossless::{Segment, Tree};

use super::ConfigError;
use super::looks_secret::is_secret;
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples![
    "config set k8s_context production",
    "config set --path aip_config.image_tag v1.2.3",
    "config set --path --secret aip_config.required_env.DATABASE_URL",
])]
#[allow(clippy::struct_excessive_bools, reason = "one per flag")]
pub(super) struct SetArgs {
    /// The key, or with --path a property path: `aip_config.image_tag`
    key: String,
    /// The value; omit it for secrets, because other users of the machine can see arguments
    value: Option<String>,
    /// Treat the key as a property path
    #[arg(long)]
    path: bool,
    /// Encrypt the value
    #[arg(long, conflicts_with_all = ["plaintext", "value_type"])]
    secret: bool,
    /// Store the value in plain text even if it looks like a secret
    #[arg(long, conflicts_with = "value_type")]
    plaintext: bool,
    /// The type of the value
    #[arg(long = "type", value_name = "TYPE")]
    value_type: Option<TypeName>,
    /// Keep the trailing newline of a value from standard input
    #[arg(long)]
    raw: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TypeName {
    String,
    Bool,
    Int,
    Float,
}

impl From<TypeName> for ValueType {
    fn from(name: TypeName) -> Self {
        match name {
            TypeName::String => Self::String,
            TypeName::Bool => Self::Bool,
            TypeName::Int => Self::Int,
            TypeName::Float => Self::Float,
        }
    }
}

impl SetArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        let stack = ctx.stack().await?;
        let path = stack.config_path(&self.key, self.path)?;
        let mut file = stack.load()?;
        if self.secret && self.value.is_some() {
            ctx.screen.status(
                "warning: other users of this machine can see secrets on the command line, and the shell keeps \
                 them in its history; omit the value to be prompted, or pipe it in",
            );
        }
        let value = self.read_value(ctx)?;
        let value = value.expose_secret();
        let tree = if self.secret {
            let crypter = ctx.crypter_or_new(&mut file).await?;
            Tree::secret(crypter.encrypt(value, ctx.rng.as_ref())?)
        } else {
            let shown = path.display(&stack.project.name);
            if !self.plaintext && is_secret(&stack.project, &path, value) {
                return Err(ConfigError::LooksSecret(shown));
            }
            if file.at(&path).is_some_and(|node| node.secret().is_some()) {
                ctx.screen.status(format!(
                    "warning: `{shown}` was encrypted and is now in plain text"
                ));
            }
            match self.value_type {
                Some(name) => ValueType::from(name)
                    .coerce(value)
                    .map_err(|source| ConfigError::Type { key: shown, source })?,
                None => typed(&stack.project, &path, value, &|warning| {
                    ctx.screen.status(warning);
                })?,
            }
        };
        file.set(&path, tree)?;
        Ok(file.save()?)
    }

    fn read_value(&self, ctx: &Context) -> Result<SecretString, ConfigError> {
        if let Some(value) = &self.value {
            return Ok(SecretString::from(value.clone()));
        }
        if let Some(mut piped) = ctx.screen.read_stdin().map_err(ConfigError::Input)? {
            if !self.raw && piped.ends_with('\n') {
                piped.pop();
                if piped.ends_with('\r') {
                    piped.pop();
                }
            }
            return Ok(SecretString::from(piped));
        }
        if !ctx.screen.can_ask() {
            return Err(ConfigError::NoValue);
        }
        if self.secret {
            return ctx.screen.read_secret("value").map_err(ConfigError::Input);
        }
        ctx.screen
            .read_line("value")
            .map(SecretString::from)
            .map_err(ConfigError::Input)
    }
}

/// The value with the type of its field. Outside `aip_config` the look decides, as in Pulumi: a
/// whole key is always text.
pub(super) fn typed(
    project: &Project,
    path: &ConfigPath,
    value: &str,
    warn: &dyn Fn(&str),
) -> Result<Tree, ConfigError> {
    let text = || Tree::String(value.to_owned());
    if path.steps.is_empty() {
        return Ok(text());
    }
    let key = path.display(&project.name);
    if path.key.namespace != project.name || path.key.name != "aip_config" {
        return Ok(by_look(value));
    }
    let Some(shape) = shape_at(&path.steps) else {
        let known = matches!(path.steps.last(), Some(Segment::Key(name)) if !name.is_empty());
        if known {
            warn(&format!(
                "warning: unknown field `{key}`: `preview` will reject it"
            ));
        }
        return Ok(by_look(value));
    };
    let misfit = || ConfigError::Shape {
        key: key.clone(),
        expected: shape.describe(),
    };
    match shape {
        Shape::String | Shape::Quantity => Ok(text()),
        Shape::Bool => ValueType::Bool.coerce(value).map_err(|_| misfit()),
        Shape::Int { min, max } => match value.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Tree::Plain(number.to_string())),
            _ => Err(misfit()),
        },
        Shape::Word(words) if words.contains(&value) => Ok(text()),
        Shape::Word(_) | Shape::StringList | Shape::StringMap | Shape::Env(_) | Shape::Group(_) => {
            Err(misfit())
        }
    }
}
