//! `Pulumi.<stack>.yaml`: the values of one stack, read with their lines and edited in place.

use std::path::{Path, PathBuf};

use yaml_lossless::{
    Change, Content, Document, EditError, Node, ScalarKind, Segment, Tree, YamlError,
};

use crate::atomic;
use crate::key::{ConfigKey, ConfigPath, KeyError};

/// A stack file, or the empty one that a new stack begins with.
#[derive(Debug, Clone)]
pub struct StackFile {
    path: PathBuf,
    project: String,
    document: Document,
    saved: String,
}

/// A value of a stack file.
#[derive(Debug, Clone)]
pub struct Entry<'f> {
    /// Its key.
    pub key: ConfigKey,
    /// The key as the file spells it.
    pub spelled: &'f str,
    /// Its value.
    pub value: &'f Node,
}

/// An encrypted value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Counted from 1.
    pub line: usize,
    /// The way to it from the top of the file.
    pub steps: Vec<Segment>,
    /// The value of `secure:`, such as `v1:NONCE:CIPHERTEXT` in base64.
    pub ciphertext: String,
}

/// What a stack file says about its encryption.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encryption {
    /// `secretsprovider`: a URL, `passphrase` or `default`.
    pub provider: Option<String>,
    /// `encryptedkey`: the data key, wrapped by the provider.
    pub encrypted_key: Option<String>,
    /// `encryptionsalt`: the passphrase's salt and check.
    pub salt: Option<String>,
}

/// The keys of [`Encryption`], in the order of its fields.
const ENCRYPTION_KEYS: [&str; 3] = ["secretsprovider", "encryptedkey", "encryptionsalt"];

/// Why a stack file is not read or changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum StackFileError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: the file is not UTF-8 text")]
    NotUtf8 { path: PathBuf },
    #[error("{path}:{}: {source}", source.line())]
    Yaml {
        path: PathBuf,
        /// What the parser or check reported; never a secret value.
        source: YamlError,
    },
    #[error("{path}:{line}: {message}")]
    Shape {
        path: PathBuf,
        line: usize,
        /// What the parser or check reported; never a secret value.
        message: String,
    },
    #[error("{path}{}: {source}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Edit {
        path: PathBuf,
        line: Option<usize>,
        source: EditError,
    },
    /// The file was changed by somebody else since it was read.
    #[error("{path}: the file was changed by another program in the meantime: nothing was written")]
    ChangedMeanwhile { path: PathBuf },
}

impl StackFile {
    /// Reads the file; a missing one is empty.
    pub fn load(path: &Path, project: &str) -> Result<Self, StackFileError> {
        Self::parse(path, read(path)?.unwrap_or_default(), project)
    }

    /// Reads a text as the file `path`.
    pub fn parse(path: &Path, text: String, project: &str) -> Result<Self, StackFileError> {
        let saved = text.clone();
        let mut document = Document::parse(text).map_err(|source| StackFileError::Yaml {
            path: path.to_owned(),
            source,
        })?;
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            document = document.as_json();
        }
        let file = Self {
            path: path.to_owned(),
            project: project.to_owned(),
            document,
            saved,
        };
        file.check()?;
        Ok(file)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text as it would be saved.
    pub fn text(&self) -> &str {
        self.document.text()
    }

    /// The whole file.
    pub fn root(&self) -> &Node {
        self.document.root()
    }

    /// The values in the order of the file.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        let config = self.root().get("config").map(Node::entries);
        let entries = config.into_iter().flatten().filter_map(|(spelled, value)| {
            Some(Entry {
                key: ConfigKey::parse(spelled, &self.project).ok()?,
                spelled,
                value,
            })
        });
        entries.collect()
    }

    /// The value of a key.
    pub fn get(&self, key: &ConfigKey) -> Option<&Node> {
        self.entries()
            .into_iter()
            .find(|entry| entry.key == *key)
            .map(|entry| entry.value)
    }

    /// The value at a path.
    pub fn at(&self, path: &ConfigPath) -> Option<&Node> {
        self.get(&path.key)?.at(&path.steps)
    }

    /// Sets the value at a path. A single value directly under the key gives way to a map or list.
    pub fn set(&mut self, path: &ConfigPath, value: Tree) -> Result<(), StackFileError> {
        let gives_way = !path.steps.is_empty()
            && self
                .get(&path.key)
                .is_some_and(|node| node.scalar().is_some() && !node.is_null());
        if !gives_way {
            return self.edit(&self.steps(&path.key, &path.steps), &Change::Set(value));
        }
        let created = Tree::null().changed(&path.steps, &Change::Set(value));
        let created = created
            .map_err(|e| self.edit_error(e.into(), None))?
            .unwrap_or_else(Tree::null);
        self.edit(&self.steps(&path.key, &[]), &Change::Set(created))
    }

    /// Removes the value at a path; whether there was one.
    pub fn remove(&mut self, path: &ConfigPath) -> Result<bool, StackFileError> {
        let value = self.get(&path.key);
        let in_secret = (0..path.steps.len()).any(|depth| {
            let above = value.and_then(|value| value.at(&path.steps[..depth]));
            above.is_some_and(|node| node.secret().is_some())
        });
        if self.at(path).is_none() && !in_secret {
            return Ok(false);
        }
        let last = path.steps.is_empty() && self.entries().len() == 1;
        let steps = if last {
            vec![Segment::Key("config".to_owned())]
        } else {
            self.steps(&path.key, &path.steps)
        };
        self.edit(&steps, &Change::Remove)?;
        Ok(true)
    }

    /// All encrypted values.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut found = Vec::new();
        if let Some(config) = self.root().get("config") {
            collect_secrets(
                config,
                &mut vec![Segment::Key("config".to_owned())],
                &mut found,
            );
        }
        found
    }

    /// What the file says about its encryption.
    pub fn encryption(&self) -> Encryption {
        let text = |name| {
            let scalar = self.root().get(name)?.scalar()?;
            Some(scalar.text.clone()).filter(|text| !text.is_empty())
        };
        Encryption {
            provider: text("secretsprovider"),
            encrypted_key: text("encryptedkey"),
            salt: text("encryptionsalt"),
        }
    }

    /// Writes what the file says about its encryption.
    pub fn set_encryption(&mut self, encryption: &Encryption) -> Result<(), StackFileError> {
        let values = [
            &encryption.provider,
            &encryption.encrypted_key,
            &encryption.salt,
        ];
        // In an empty file the encryption comes before the values.
        for (name, value) in ENCRYPTION_KEYS.into_iter().zip(values) {
            let change = value
                .clone()
                .map_or(Change::Remove, |value| Change::Set(Tree::String(value)));
            self.edit(&[Segment::Key(name.to_owned())], &change)?;
        }
        Ok(())
    }

    /// Makes a change at a path from the top of the file.
    pub(crate) fn edit(
        &mut self,
        steps: &[Segment],
        change: &Change,
    ) -> Result<(), StackFileError> {
        self.document.edit(steps, change).map_err(|source| {
            let line = match &source {
                EditError::Shared { line } | EditError::Unsafe { line } => Some(*line),
                EditError::Yaml(error) => Some(error.line()),
                EditError::Tree(_) => None,
            };
            self.edit_error(source, line)
        })
    }

    fn edit_error(&self, source: EditError, line: Option<usize>) -> StackFileError {
        StackFileError::Edit {
            path: self.path.clone(),
            line,
            source,
        }
    }

    /// Gives the file another text, to be saved.
    pub fn replace_with(&mut self, text: String) -> Result<(), StackFileError> {
        self.document = Self::parse(&self.path, text, &self.project)?.document;
        Ok(())
    }

    /// Keeps the text that was read beside the file, under the first free name of `FILE.bak`,
    /// `FILE.bak.bak`, …; none if there was no text.
    pub fn back_up(&self) -> Result<Option<PathBuf>, StackFileError> {
        if self.saved.is_empty() {
            return Ok(None);
        }
        let mut copy = self.path.clone().into_os_string();
        loop {
            copy.push(".bak");
            let path = PathBuf::from(&copy);
            // In the end a name is too long, which is another error.
            match atomic::create(&path, self.saved.as_bytes(), 0o644) {
                Ok(()) => return Ok(Some(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(StackFileError::Io { path, source }),
            }
        }
    }

    /// Whether there is anything to save.
    pub fn is_changed(&self) -> bool {
        self.saved != self.document.text()
    }

    /// Writes the file, atomically, unless somebody else has changed it since it was read.
    pub fn save(&mut self) -> Result<(), StackFileError> {
        if !self.is_changed() {
            return Ok(());
        }
        if read(&self.path)?.unwrap_or_default() != self.saved {
            return Err(StackFileError::ChangedMeanwhile {
                path: self.path.clone(),
            });
        }
        let text = self.document.text();
        // `stackConfigDir` may name a folder that the first stack makes.
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| StackFileError::Io {
                path: folder.to_owned(),
                source,
            })?;
        }
        atomic::write(&self.path, text.as_bytes(), 0o644).map_err(|source| StackFileError::Io {
            path: self.path.clone(),
            source,
        })?;
        self.saved = text.to_owned();
        Ok(())
    }

    /// The way to a key's value from the top of the file, in the file's own spelling.
    fn steps(&self, key: &ConfigKey, below: &[Segment]) -> Vec<Segment> {
        let spelled = self.entries().into_iter().find(|entry| entry.key == *key);
        let spelled = spelled.map_or_else(|| key.to_string(), |entry| entry.spelled.to_owned());
        let head = [Segment::Key("config".to_owned()), Segment::Key(spelled)];
        head.into_iter().chain(below.iter().cloned()).collect()
    }

    /// What every reader of a stack file relies on.
    fn check(&self) -> Result<(), StackFileError> {
        let shape = |line, message: String| StackFileError::Shape {
            path: self.path.clone(),
            line,
            message,
        };
        let root = self.root();
        if root.pairs().is_none() && !root.is_null() {
            return Err(shape(
                root.line,
                "a stack file must be a map with the key `config`".to_owned(),
            ));
        }
        if let Some(environment) = root.get("environment") {
            let message = "`environment:` (Pulumi ESC) needs Pulumi Cloud: remove it to use this file with \
                           aip-deploy";
            return Err(shape(environment.line, message.to_owned()));
        }
        for name in ENCRYPTION_KEYS {
            let node = root.get(name).filter(|node| !node.is_null());
            let scalar = |node: &Node| node.scalar().map(|scalar| scalar.kind);
            if let Some(node) = node
                && scalar(node) != Some(ScalarKind::String)
            {
                let message = format!(
                    "`{name}` must be a string: the encrypted values cannot be decrypted without it"
                );
                return Err(shape(node.line, message));
            }
        }
        let Some(config) = root.get("config") else {
            return Ok(());
        };
        if config.pairs().is_none() && !config.is_null() {
            return Err(shape(
                config.line,
                "`config` must be a map of keys and values".to_owned(),
            ));
        }
        let mut seen: Vec<(ConfigKey, &str)> = Vec::new();
        for (spelled, value) in config.entries() {
            let key = ConfigKey::parse(spelled, &self.project)
                .map_err(|e: KeyError| shape(value.line, e.to_string()))?;
            if let Some((_, other)) = seen.iter().find(|(seen, _)| *seen == key) {
                let message =
                    format!("`{spelled}` and `{other}` are the same key: remove one of them");
                return Err(shape(value.line, message));
            }
            seen.push((key, spelled));
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<String>, StackFileError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(StackFileError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| StackFileError::NotUtf8 {
            path: path.to_owned(),
        })
}

fn collect_secrets(node: &Node, steps: &mut Vec<Segment>, found: &mut Vec<Secret>) {
    if let Some(ciphertext) = node.secret() {
        found.push(Secret {
            line: node.line,
            steps: steps.clone(),
            ciphertext: ciphertext.to_owned(),
        });
        return;
    }
    match &node.content {
        Content::Scalar(_) => {}
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                steps.push(Segment::Index(index));
                collect_secrets(item, steps, found);
                steps.pop();
            }
        }
        Content::Map(pairs) => {
            for pair in pairs {
                steps.push(Segment::Key(pair.name().to_owned()));
                collect_secrets(&pair.value, steps, found);
                steps.pop();
            }
        }
    }
}
