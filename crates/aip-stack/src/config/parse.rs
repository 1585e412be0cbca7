//! Reads a node of the stack file by the table of fields: types, unknown names, secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pulumi_files::{ConfigPath, Crypter, CrypterError};
use secrecy::SecretString;
use yaml_lossless::{Content, Node, Scalar, ScalarKind, Segment};

use super::field::{Group, Shape, Variable};
use super::fields::AIP_CONFIG;
use super::fix::{Edit, Fix, Remedy};
use super::problem::Problem;
use super::value::{ConfigString, EnvValues, FieldValue};
use super::values::Values;

/// Whether encrypted values are decrypted.
#[derive(Clone, Copy)]
pub enum SecretsAccess<'a> {
    /// Decrypt with the stack's key.
    Decrypt(&'a Crypter),
    /// Not at all: `render --secrets=stub`, which needs no passphrase.
    Placeholder,
}

/// Collects what is wrong while it reads.
pub(super) struct Parser<'a> {
    pub(super) file: PathBuf,
    pub(super) secrets: SecretsAccess<'a>,
    pub(super) problems: Vec<Problem>,
}

/// What was read so far, by path.
#[derive(Default)]
struct ParsedFields {
    set: BTreeMap<&'static str, FieldValue>,
    lines: BTreeMap<&'static str, usize>,
}

impl Parser<'_> {
    pub(super) fn problem(
        &mut self,
        line: Option<usize>,
        path: &str,
        message: impl Into<String>,
        fix: Option<Fix>,
    ) {
        self.problems.push(Problem {
            file: self.file.clone(),
            line,
            path: path.to_owned(),
            message: message.into(),
            fix,
        });
    }

    /// A value that has to be there and is not; unless it is there and was refused already.
    pub(super) fn missing(&mut self, line: Option<usize>, path: &str, why: &str, fix: Fix) {
        if !self.problems.iter().any(|problem| problem.path == path) {
            self.problem(line, path, why, Some(fix));
        }
    }

    /// The fields of `aip_config`.
    pub(super) fn values(&mut self, node: &Node) -> Values {
        let mut found = ParsedFields::default();
        self.group(node, &AIP_CONFIG, &mut found);
        Values::new(found.set, found.lines)
    }

    fn group(&mut self, node: &Node, group: &'static Group, found: &mut ParsedFields) {
        let path = group.path();
        found.lines.insert(path, node.line);
        if node.is_null() {
            return;
        }
        if node.pairs().is_none() || node.secret().is_some() {
            self.problem(Some(node.line), path, "must be a map", None);
            return;
        }
        for (name, value) in node.entries() {
            let at = join_path(path, name);
            let field = group.fields.iter().find(|field| field.name() == name);
            let below = group.groups.iter().find(|below| below.name() == name);
            match (field, below) {
                _ if value.is_null() && (field.is_some() || below.is_some()) => {}
                (Some(field), _) => {
                    found.lines.insert(field.path(), value.line);
                    if let Some(read) = self.value(value, field.shape(), &at) {
                        found.set.insert(field.path(), read);
                    }
                }
                (None, Some(below)) => self.group(value, below, found),
                (None, None) => self.unknown(value, name, group.names(), &at),
            }
        }
    }

    fn unknown(
        &mut self,
        value: &Node,
        name: &str,
        known: impl Iterator<Item = &'static str>,
        at: &str,
    ) {
        let hint = closest_name(name, known).map(|name| format!(": did you mean `{name}`?"));
        let message = format!("is not a known field{}", hint.unwrap_or_default());
        let fix = Fix::new(Remedy::Unknown, at, Edit::Remove);
        self.problem(Some(value.line), at, message, Some(fix));
    }

    /// An environment: names that are not known are passed on, unless they look like a typo.
    fn env(&mut self, node: &Node, known: &[&'static Variable], path: &str) -> EnvValues {
        let mut env = EnvValues {
            line: Some(node.line),
            ..EnvValues::default()
        };
        if node.pairs().is_none() || node.secret().is_some() {
            self.problem(Some(node.line), path, "must be a map", None);
            return env;
        }
        let names = || known.iter().map(|variable| variable.name);
        for (name, value) in node.entries() {
            let at = join_path(path, name);
            let variable = known.iter().find(|variable| variable.name == name);
            if variable.is_none() && closest_name(name, names()).is_some() {
                self.unknown(value, name, names(), &at);
            } else if let Some(text) = self.text_unless_null(value, &at) {
                match variable {
                    Some(variable) => drop(env.known.insert(variable.name, text)),
                    None => drop(env.others.insert(name.to_owned(), text)),
                }
            }
        }
        env
    }

    fn text_unless_null(&mut self, node: &Node, at: &str) -> Option<ConfigString> {
        if node.is_null() {
            None
        } else {
            self.text(node, at)
        }
    }

    fn value(&mut self, node: &Node, shape: Shape, at: &str) -> Option<FieldValue> {
        match shape {
            Shape::String => self.text(node, at).map(FieldValue::String),
            Shape::Quantity => match node.scalar() {
                // A number is what is meant here; its text arrives as it is written.
                Some(scalar) if matches!(scalar.kind, ScalarKind::Int | ScalarKind::Float) => {
                    Some(FieldValue::String(ConfigString {
                        value: Some(SecretString::from(scalar.text.clone())),
                        line: node.line,
                        encrypted: false,
                    }))
                }
                _ => self.text(node, at).map(FieldValue::String),
            },
            Shape::Env(known) => Some(FieldValue::Env(self.env(node, known, at))),
            Shape::StringList => match &node.content {
                Content::List(items) => {
                    let texts = items.iter().enumerate();
                    let texts = texts.filter_map(|(index, item)| {
                        self.text(item, &ConfigPath::join(at, &Segment::Index(index)))
                    });
                    Some(FieldValue::StringList(texts.collect()))
                }
                _ => self.wrong(node, shape, at),
            },
            Shape::StringMap => match node.pairs() {
                Some(_) if node.secret().is_none() => {
                    let mut map = BTreeMap::new();
                    for (name, value) in node.entries() {
                        if let Some(text) = self.text(value, &join_path(at, name)) {
                            map.insert(name.to_owned(), text);
                        }
                    }
                    Some(FieldValue::StringMap(map))
                }
                _ => self.wrong(node, shape, at),
            },
            Shape::Bool => match node.scalar().map(|scalar| scalar.kind) {
                Some(ScalarKind::Bool(value)) => Some(FieldValue::Bool(value)),
                _ => self.wrong(node, shape, at),
            },
            Shape::Int { min, max } => match node.scalar() {
                Some(scalar) if scalar.kind == ScalarKind::Int => match scalar.text.parse() {
                    Ok(number) if (min..=max).contains(&number) => Some(FieldValue::Int(number)),
                    _ => self.wrong(node, shape, at),
                },
                _ => self.wrong(node, shape, at),
            },
            Shape::Word(words) => match node.scalar() {
                Some(scalar) if words.contains(&scalar.text.as_str()) => {
                    self.text(node, at).map(FieldValue::String)
                }
                _ => self.wrong(node, shape, at),
            },
            // Maps of fields are read by `group`.
            Shape::Group(_) => self.wrong(node, shape, at),
        }
    }

    fn wrong(&mut self, node: &Node, shape: Shape, at: &str) -> Option<FieldValue> {
        let fix = closest_value(shape, node.scalar())
            .map(|value| Fix::new(Remedy::Shape, at, Edit::Set(value)));
        self.problem(
            Some(node.line),
            at,
            format!("must be {}", shape.describe()),
            fix,
        );
        None
    }

    /// Text, encrypted or not. A number or date without quotes is refused: `1.10` would arrive as
    /// `1.1` at any other reader of the file.
    pub(super) fn text(&mut self, node: &Node, at: &str) -> Option<ConfigString> {
        if let Some(ciphertext) = node.secret() {
            let value = match self.secrets {
                SecretsAccess::Placeholder => None,
                SecretsAccess::Decrypt(crypter) => match crypter.decrypt(ciphertext) {
                    Ok(value) => Some(value),
                    Err(error) => {
                        self.undecryptable(node, at, error);
                        return None;
                    }
                },
            };
            return Some(ConfigString {
                value,
                line: node.line,
                encrypted: true,
            });
        }
        match node.scalar() {
            Some(scalar) if scalar.kind == ScalarKind::String => {
                let value = Some(SecretString::from(scalar.text.clone()));
                Some(ConfigString {
                    value,
                    line: node.line,
                    encrypted: false,
                })
            }
            Some(scalar) => {
                let what = scalar.kind.name();
                let message = format!("must be a string; quote it, since unquoted it is {what}");
                let edit = if scalar.text.is_empty() {
                    Edit::Prompt
                } else if may_be_secret(at) {
                    Edit::PromptSecret
                } else {
                    Edit::Set(scalar.text.clone())
                };
                let fix = Some(Fix::new(Remedy::Quote, at, edit));
                self.problem(Some(node.line), at, message, fix);
                None
            }
            None => {
                self.problem(Some(node.line), at, "must be a string", None);
                None
            }
        }
    }

    fn undecryptable(&mut self, node: &Node, at: &str, error: CrypterError) {
        let fix = Fix::new(Remedy::Reencrypt, at, Edit::PromptSecret);
        self.problem(Some(node.line), at, error.to_string(), Some(fix));
    }
}

/// How a file is called in messages: without the folder it was found in.
pub(super) fn display_path(file: &Path) -> PathBuf {
    file.file_name()
        .map_or_else(|| file.to_owned(), PathBuf::from)
}

/// The known name that `name` is probably a typo of.
fn closest_name(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|known| (strsim::osa_distance(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, name)| name)
}

/// The path of a field or variable below `path`.
pub(super) fn join_path(path: &str, name: &str) -> String {
    ConfigPath::join(path, &Segment::Key(name.to_owned()))
}

/// Whether a value at this place is better not repeated in a message.
fn may_be_secret(path: &str) -> bool {
    let holds_secrets = [
        "required_env",
        "env_config",
        "extra_env",
        "signing_keys",
        "certificate",
        "dependencies",
    ]
    .iter()
    .any(|field| path.starts_with(&format!("aip_config.{field}")));
    let path = path.to_ascii_lowercase();
    holds_secrets
        && ["pass", "pwd", "secret", "token", "key", "url", "dsn"]
            .iter()
            .any(|word| path.contains(word))
}

/// The value of this shape that is nearest to what stands there.
fn closest_value(shape: Shape, given: Option<&Scalar>) -> Option<String> {
    let given = given.map_or("", |scalar| scalar.text.as_str());
    let folded = given.to_ascii_lowercase();
    match shape {
        Shape::Bool => {
            let no = ["false", "no", "off", "n", "f", "0"].contains(&folded.as_str());
            Some(if no { "false" } else { "true" }.to_owned())
        }
        Shape::Int { min, max } => {
            let number = given.parse::<i64>().unwrap_or(min.max(1));
            Some(number.clamp(min, max).to_string())
        }
        Shape::Word(words) => words
            .iter()
            .min_by_key(|word| strsim::osa_distance(&folded, word))
            .map(|word| (*word).to_owned()),
        Shape::String
        | Shape::Quantity
        | Shape::StringList
        | Shape::StringMap
        | Shape::Env(_)
        | Shape::Group(_) => None,
    }
}
