//! `config set`: one value, of the type its field has.

use clap::{Args, ValueEnum};
use pulumi_files::coerce::{ValueType, by_look};
use pulumi_files::yaml::{Segment, Tree};
use pulumi_files::{ConfigPath, Project};
use secrecy::{ExposeSecret as _, SecretString};

use super::ConfigError;
use super::looks_secret::is_secret;
use crate::config::{Shape, shape_at};
use crate::selection::Selection;

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "one per flag")]
pub(super) struct SetArgs {
    /// The key, or with --path a key and the way into its value: `aip_config.image_tag`
    key: String,
    /// The value; better left out for secrets, which other users of the machine could see
    value: Option<String>,
    /// The key is a path
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
    /// Keep the line end of a value from standard input
    #[arg(long)]
    raw: bool,
}

/// The types that a value may be given.
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
            TypeName::String => Self::Text,
            TypeName::Bool => Self::Bool,
            TypeName::Int => Self::Int,
            TypeName::Float => Self::Float,
        }
    }
}

impl SetArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), ConfigError> {
        let project = selection.project()?;
        let stack = selection.stack(&project).await?;
        let path = Selection::config_path(&project, &self.key, self.path)?;
        let mut file = selection.stack_file(&project, &stack)?;
        if self.secret && self.value.is_some() {
            selection.terminal.talk(
                "warning: a secret on the command line is seen by other users of this machine and kept by the shell; \
                 leave it out to be asked, or pipe it in",
            );
        }
        let value = self.read_value(selection)?;
        let value = value.expose_secret();
        let tree = if self.secret {
            let crypter = selection.crypter_or_new(&mut file).await?;
            Tree::secret(crypter.encrypt(value, selection.rng.as_ref())?)
        } else {
            let shown = path.display(&project.name);
            if !self.plaintext && is_secret(&project, &path, value) {
                return Err(ConfigError::LooksSecret(shown));
            }
            if file.at(&path).is_some_and(|node| node.secret().is_some()) {
                selection.terminal.talk(&format!(
                    "warning: `{shown}` was encrypted and is now in plain text"
                ));
            }
            match self.value_type {
                Some(name) => ValueType::from(name)
                    .coerce(value)
                    .map_err(|source| ConfigError::Type { key: shown, source })?,
                None => typed(&project, &path, value, &|warning| {
                    selection.terminal.talk(warning);
                })?,
            }
        };
        file.set(&path, tree)?;
        Ok(file.save()?)
    }

    fn read_value(&self, selection: &Selection) -> Result<SecretString, ConfigError> {
        if let Some(value) = &self.value {
            return Ok(SecretString::from(value.clone()));
        }
        if let Some(mut piped) = selection.terminal.piped().map_err(ConfigError::Input)? {
            if !self.raw && piped.ends_with('\n') {
                piped.pop();
                if piped.ends_with('\r') {
                    piped.pop();
                }
            }
            return Ok(SecretString::from(piped));
        }
        if !selection.terminal.interactive() {
            return Err(ConfigError::NoValue);
        }
        if self.secret {
            return selection
                .terminal
                .secret("value")
                .map_err(ConfigError::Input);
        }
        selection
            .terminal
            .line("value")
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
    let text = || Tree::Text(value.to_owned());
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
                "warning: `{key}` is not a field that is known: `preview` will refuse it"
            ));
        }
        return Ok(by_look(value));
    };
    let misfit = || ConfigError::Shape {
        key: key.clone(),
        wanted: shape.describe(),
    };
    match shape {
        Shape::Text | Shape::Quantity => Ok(text()),
        Shape::Bool => ValueType::Bool.coerce(value).map_err(|_| misfit()),
        Shape::Int { min, max } => match value.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Tree::Plain(number.to_string())),
            _ => Err(misfit()),
        },
        Shape::Word(words) if words.contains(&value) => Ok(text()),
        Shape::Word(_) | Shape::Texts | Shape::TextMap | Shape::Env(_) | Shape::Object(_) => {
            Err(misfit())
        }
    }
}
