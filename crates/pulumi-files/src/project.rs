//! `Pulumi.yaml`: found by walking up, and what it says about the project's stacks.

use std::path::{Path, PathBuf};

use yaml_lossless::{Content, Document, Node, ScalarKind, YamlError};

use crate::atomic;
use crate::key::ConfigKey;
use crate::stack_name::StackName;

/// The project that a folder belongs to.
#[derive(Debug, Clone)]
pub struct Project {
    /// The project file, absolute.
    pub file: PathBuf,
    /// Its name, the namespace of its keys.
    pub name: String,
    /// `backend.url`, which beats a login.
    pub backend_url: Option<String>,
    /// The folder of the stack files.
    pub stack_folder: PathBuf,
    /// Values for every stack that does not set them.
    pub defaults: Vec<Default>,
}

/// A value that the project gives to all its stacks.
#[derive(Debug, Clone)]
pub struct Default {
    /// The key.
    pub key: ConfigKey,
    /// The value, with its line in the project file.
    pub value: Node,
    /// Whether it is not to be shown.
    pub secret: bool,
}

/// Why there is no project.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum ProjectError {
    #[error(
        "no Pulumi.yaml project file found (searching upwards from {from}): `aip-deploy stack init NAME \
         --project aip` creates one"
    )]
    NotFound { from: PathBuf },
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}:{}: {source}", source.line())]
    Yaml {
        path: PathBuf,
        /// What the parser or check reported; never a secret value.
        source: YamlError,
    },
    #[error("{path}:{line}: {message}")]
    Field {
        path: PathBuf,
        line: usize,
        /// What the parser or check reported; never a secret value.
        message: String,
    },
}

/// The names of a project file, in the order in which they are tried.
const PROJECT_FILE_NAMES: [&str; 3] = ["Pulumi.json", "Pulumi.yaml", "Pulumi.yml"];

impl Project {
    /// The project of `folder` or of the nearest folder above it.
    pub fn find(folder: &Path) -> Result<Self, ProjectError> {
        let from = std::path::absolute(folder).map_err(|source| ProjectError::Io {
            path: folder.to_owned(),
            source,
        })?;
        let candidates = from
            .ancestors()
            .flat_map(|folder| PROJECT_FILE_NAMES.map(|name| folder.join(name)));
        match candidates.into_iter().find(|candidate| candidate.is_file()) {
            Some(file) => Self::load(&file),
            None => Err(ProjectError::NotFound { from }),
        }
    }

    /// Writes the file of a project that has none yet.
    pub fn create(folder: &Path, name: &str) -> Result<Self, ProjectError> {
        let file = folder.join("Pulumi.yaml");
        if !is_name(name) {
            return Err(ProjectError::Field {
                path: file,
                line: 1,
                message: NAME_RULE.to_owned(),
            });
        }
        let text =
            format!("name: {name}\n# For Pulumi; aip-deploy runs no program.\nruntime: yaml\n");
        atomic::create(&file, text.as_bytes(), 0o644).map_err(|source| ProjectError::Io {
            path: file.clone(),
            source,
        })?;
        Self::find(folder)
    }

    /// Reads a project file.
    pub fn load(file: &Path) -> Result<Self, ProjectError> {
        let io = |source| ProjectError::Io {
            path: file.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(file).map_err(io)?;
        Self::parse(file, text.strip_prefix('\u{feff}').unwrap_or(&text))
    }

    fn parse(file: &Path, text: &str) -> Result<Self, ProjectError> {
        let document = Document::parse(text).map_err(|source| ProjectError::Yaml {
            path: file.to_owned(),
            source,
        })?;
        let root = document.root();
        let wrong = |line, message: &str| ProjectError::Field {
            path: file.to_owned(),
            line,
            message: message.to_owned(),
        };
        let text = |node: &Node, what: &str| match node.scalar() {
            Some(scalar) if scalar.kind == ScalarKind::String => Ok(scalar.text.clone()),
            _ => Err(wrong(node.line, &format!("`{what}` must be a string"))),
        };
        let name = root
            .get("name")
            .ok_or_else(|| wrong(1, "project is missing a 'name' attribute"))?;
        let line = name.line;
        let name = text(name, "name")?;
        if !is_name(&name) {
            return Err(wrong(line, NAME_RULE));
        }
        let config = root.get("config").filter(|node| !node.is_null());
        // `config: folder` is the old name of `stackConfigDir`.
        let folder = match (root.get("stackConfigDir"), config) {
            (Some(folder), _) => Some(text(folder, "stackConfigDir")?),
            (None, Some(config)) if config.scalar().is_some() => Some(text(config, "config")?),
            _ => None,
        };
        let backend_url = root.get("backend").and_then(|backend| backend.get("url"));
        let backend_url = backend_url
            .filter(|url| !url.is_null())
            .map(|url| text(url, "backend.url"))
            .transpose()?;
        let mut defaults = Vec::new();
        for (spelled, entry) in config.into_iter().flat_map(Node::entries) {
            let key =
                ConfigKey::parse(spelled, &name).map_err(|e| wrong(entry.line, &e.to_string()))?;
            let described = ["type", "description", "items", "default", "value", "secret"];
            let ours = key.namespace == name;
            let is_description = entry
                .pairs()
                .is_some_and(|pairs| pairs.iter().all(|p| described.contains(&p.name())));
            if is_description {
                check_description(spelled, entry, ours)
                    .map_err(|message| wrong(entry.line, &message))?;
            }
            let value = if is_description {
                entry.get("value").or_else(|| entry.get("default"))
            } else {
                Some(entry)
            };
            let secret = is_description
                && entry
                    .get("secret")
                    .and_then(Node::scalar)
                    .is_some_and(|s| s.kind == ScalarKind::Bool(true));
            if let Some(value) = value.filter(|value| !value.is_null()) {
                defaults.push(Default {
                    key,
                    value: value.clone(),
                    secret,
                });
            }
        }
        let here = file.parent().unwrap_or(Path::new(".")).to_owned();
        let stack_folder = folder.map_or_else(|| here.clone(), |folder| here.join(folder));
        Ok(Self {
            file: file.to_owned(),
            name,
            backend_url,
            stack_folder,
            defaults,
        })
    }

    /// The file of a stack, whether it exists or not.
    pub fn stack_file(&self, stack: &StackName) -> PathBuf {
        let extension = self
            .file
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or("yaml");
        self.stack_folder
            .join(format!("Pulumi.{}.{extension}", stack.as_str()))
    }

    /// The stacks that have a file, sorted.
    pub fn stacks_with_files(&self) -> Vec<StackName> {
        let extension = self
            .file
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or("yaml");
        let entries = std::fs::read_dir(&self.stack_folder)
            .into_iter()
            .flatten()
            .flatten();
        let mut stacks: Vec<StackName> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let stack = name
                    .strip_prefix("Pulumi.")?
                    .strip_suffix(extension)?
                    .strip_suffix('.')?;
                stack.parse().ok()
            })
            .collect();
        stacks.sort();
        stacks
    }
}

const NAME_RULE: &str = "a project name is 1 to 100 characters of A-Z, a-z, 0-9, `-`, `_` and `.`";

fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// What Pulumi demands of a described value (`sdk/go/common/workspace/project.go`, `Validate`).
fn check_description(key: &str, entry: &Node, ours: bool) -> Result<(), String> {
    let given = |name| entry.get(name).filter(|node: &&Node| !node.is_null());
    let (default, value) = (given("default"), given("value"));
    if default.is_some() && value.is_some() {
        return Err(format!(
            "`{key}` cannot have both a `default` and a `value`"
        ));
    }
    let Some(kind) = given("type") else {
        return match default {
            Some(_) if !ours => Err(format!(
                "`{key}` is in another namespace and cannot have a `default`: use `value`"
            )),
            _ => Ok(()),
        };
    };
    let name = kind.scalar().map_or("", |scalar| scalar.text.as_str());
    if !ours {
        return Err(format!(
            "`{key}` is in another namespace and cannot have a `type`"
        ));
    }
    if !["string", "boolean", "integer", "number", "array", "object"].contains(&name) {
        return Err(format!("`{key}` has the unknown type `{name}`"));
    }
    if name == "array" && given("items").is_none() {
        return Err(format!("`{key}` is an array without `items`"));
    }
    match default.or(value) {
        Some(node) if !fits(node, name, given("items")) => {
            Err(format!("the default of `{key}` is not of type {name}"))
        }
        _ => Ok(()),
    }
}

/// Whether a value has a type; numbers and booleans may be written as text.
fn fits(node: &Node, kind: &str, items: Option<&Node>) -> bool {
    let scalar = node.scalar();
    let text = scalar.map_or("", |scalar| scalar.text.as_str());
    let scalar = scalar.map(|scalar| scalar.kind);
    match kind {
        "string" => matches!(scalar, Some(ScalarKind::String | ScalarKind::Date)),
        "boolean" => {
            matches!(scalar, Some(ScalarKind::Bool(_))) || matches!(text, "true" | "false")
        }
        "integer" => scalar == Some(ScalarKind::Int) || text.parse::<i64>().is_ok(),
        "number" => {
            matches!(scalar, Some(ScalarKind::Int | ScalarKind::Float))
                || text.parse::<f64>().is_ok_and(f64::is_finite)
        }
        "object" => node.pairs().is_some(),
        _ => {
            let Content::List(values) = &node.content else {
                return false;
            };
            let of = items
                .and_then(|items| items.get("type"))
                .and_then(Node::scalar);
            of.is_none_or(|of| {
                let below = items.and_then(|items| items.get("items"));
                values.iter().all(|value| fits(value, &of.text, below))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Project, String> {
        Project::parse(Path::new("/p/Pulumi.yaml"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_project_says_where_its_stacks_are_and_what_they_share() {
        let project = parse(
            "name: aip\nruntime: python\nbackend: {url: s3://bucket}\nstackConfigDir: stacks\nconfig:\n  \
             pulumi:tags: {value: {a: b}}\n  region: eu\n  other:ns: 1\n  typed: {type: string}\n  pw: {default: x, secret: true}\n",
        )
        .unwrap();
        assert_eq!(project.backend_url.as_deref(), Some("s3://bucket"));
        let main: StackName = "main".parse().unwrap();
        assert_eq!(
            project.stack_file(&main),
            Path::new("/p/stacks/Pulumi.main.yaml")
        );
        let defaults: Vec<_> = project
            .defaults
            .iter()
            .map(|d| (d.key.to_string(), d.secret))
            .collect();
        let expected = [
            ("pulumi:tags", false),
            ("aip:region", false),
            ("other:ns", false),
            ("aip:pw", true),
        ];
        assert_eq!(
            defaults,
            expected.map(|(key, secret)| (key.to_owned(), secret))
        );
        let old = parse("name: aip\nruntime: python\nconfig: stacks\n").unwrap();
        assert_eq!(old.stack_folder, Path::new("/p/stacks"));
    }

    #[test]
    fn a_project_without_a_name_or_with_a_wrong_one_is_refused_with_its_line() {
        assert!(
            parse("runtime: python\n")
                .unwrap_err()
                .contains("missing a 'name'")
        );
        assert!(parse("name: aip\n").is_ok(), "no program of it is run");
        assert!(
            parse("runtime: x\nname: 5\n")
                .unwrap_err()
                .starts_with("/p/Pulumi.yaml:2: `name` must be a string")
        );
        assert!(
            parse("runtime: x\nname: a b\n")
                .unwrap_err()
                .contains("100 characters")
        );
    }

    #[test]
    fn the_nearest_folder_with_a_project_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(
            folder.path().join("Pulumi.yaml"),
            "\u{feff}name: outer\nruntime: go\n",
        )
        .unwrap();
        assert_eq!(Project::find(&deep).unwrap().name, "outer");
        std::fs::write(
            folder.path().join("a/Pulumi.yml"),
            "name: inner\nruntime: go\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("a/Pulumi.dev.yml"), "").unwrap();
        let inner = Project::find(&deep).unwrap();
        assert_eq!(inner.name, "inner");
        assert_eq!(inner.stacks_with_files(), ["dev".parse().unwrap()]);
    }

    #[test]
    fn defaults_that_no_stack_could_have_are_refused_with_their_line() {
        let config = |entry: &str| parse(&format!("name: aip\nconfig:\n  {entry}\n"));
        for (entry, message) in [
            ("a: {type: integer, default: many}", "not of type integer"),
            ("a: {type: boolean, default: 5}", "not of type boolean"),
            ("a: {type: string, value: 5}", "not of type string"),
            (
                "a: {type: array, items: {type: integer}, default: [1, x]}",
                "not of type array",
            ),
            ("a: {type: array, default: []}", "without `items`"),
            ("a: {type: text}", "unknown type `text`"),
            (
                "a: {default: 1, value: 2}",
                "both a `default` and a `value`",
            ),
            ("other:a: {type: string}", "cannot have a `type`"),
            ("other:a: {default: x}", "cannot have a `default`"),
        ] {
            let error = config(entry).unwrap_err();
            assert!(
                error.starts_with("/p/Pulumi.yaml:3: ") && error.contains(message),
                "{error}"
            );
        }
        for entry in [
            "a: {type: integer, default: \"5\"}",
            "a: {type: number, default: 1.5}",
            "a: {type: array, items: {type: array, items: {type: string}}, default: [[x]]}",
            "a: {type: object, default: {b: 1}}",
            "aip:a: {type: boolean, default: true}",
            "other:a: {value: x}",
        ] {
            assert!(config(entry).is_ok(), "{entry}");
        }
    }
}
