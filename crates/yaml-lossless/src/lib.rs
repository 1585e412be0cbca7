//! YAML as Pulumi's files use it: a tree that knows where every node stands in the text, the scalar
//! rules of the Go library that Pulumi reads with, and edits that leave every other byte alone.
//!
//! Grammar: YAML 1.2.2 (by `saphyr-parser`); scalar types: `gopkg.in/yaml.v3`, which differs from
//! the core schema in octal, binary, underscores and dates.
//!
//! Why not an editor that exists: `yaml-edit` 0.3.6 (looked at on 2026-11-29), the best of them,
//! makes most of the edits in `tests/parity.rs` byte for byte as well. But it changes the quotes of
//! a text (`'v1'` becomes `v2`), writes the text `2024-01-01` without quotes, which Pulumi's Go
//! reader takes for a date, refuses a file that holds only comments, and does not remove an item of
//! a list by its path. It does not read the file again to prove the edit, knows no encrypted values,
//! and does not say that a value is shared through an anchor. That test fails when a release of it
//! does better.

mod edit;
mod node;
mod parse;
mod render;
mod scalar;
mod scan;
mod tree;

pub use edit::EditError;
pub use node::{Content, Node, Pair};
pub use parse::YamlError;
pub use scalar::{Scalar, ScalarKind};
pub use tree::{Change, Segment, Tree, TreeError};

/// A text and what it says.
#[derive(Debug, Clone)]
pub struct Document {
    text: String,
    root: Node,
    json: bool,
}

impl Document {
    /// Reads a text.
    pub fn parse(text: impl Into<String>) -> Result<Self, YamlError> {
        let text = text.into();
        let root = parse::parse(&text)?;
        Ok(Self {
            text,
            root,
            json: false,
        })
    }

    /// Edits write JSON, which YAML 1.2 contains, from here on.
    #[must_use]
    pub fn as_json(self) -> Self {
        Self { json: true, ..self }
    }

    /// The document as it stands now, edits included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of the whole document.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Makes `change` at `path`; on an error nothing has changed.
    pub fn edit(&mut self, path: &[Segment], change: &Change) -> Result<(), EditError> {
        let (text, root) = edit::edit(&self.text, &self.root, path, change, self.json)?;
        self.text = text;
        self.root = root;
        Ok(())
    }
}
