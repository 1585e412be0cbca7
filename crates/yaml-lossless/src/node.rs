//! A node of the parsed file: what it holds, and where it stands in the text.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::scalar::{Quote, Scalar, ScalarKind};
use crate::tree::{Segment, Tree};

/// A value in a file, with its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it holds.
    pub content: Content,
    /// The line of its first character, counted from 1.
    pub line: usize,
    /// Its bytes in the text: from its first character to behind its last one, without comments.
    pub(crate) span: Range<usize>,
    pub(crate) shape: Shape,
    /// The places of its `<<` entries, if it is a mapping.
    pub(crate) merges: Vec<Range<usize>>,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// A single value.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Pair>),
}

/// One entry of a mapping.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The key.
    pub key: Node,
    /// The value.
    pub value: Node,
    /// Where the text behind the `:` begins.
    pub(crate) after: usize,
}

/// How a node is written, as far as edits care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// On one line, or several, but with a first and a last character of its own.
    Inline(Quote),
    /// `|` or `>`.
    BlockScalar,
    /// `[…]` or `{…}`.
    Flow,
    /// By indentation: the column (from 0) of its keys or dashes.
    Block { column: usize },
    /// It stands somewhere else: an alias, or a key merged by `<<`.
    Elsewhere,
}

impl Pair {
    /// The key's text.
    pub fn name(&self) -> &str {
        match &self.key.content {
            Content::Scalar(scalar) => &scalar.text,
            Content::List(_) | Content::Map(_) => "",
        }
    }
}

impl Node {
    /// The scalar, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The entries, if it is a mapping.
    pub fn pairs(&self) -> Option<&[Pair]> {
        match &self.content {
            Content::Map(pairs) => Some(pairs),
            Content::Scalar(_) | Content::List(_) => None,
        }
    }

    /// The entries as name and value; none if it is no mapping.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.pairs()
            .unwrap_or_default()
            .iter()
            .map(|pair| (pair.name(), &pair.value))
    }

    /// The value of a key, if it is a mapping that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.pairs()?
            .iter()
            .find(|pair| pair.name() == name)
            .map(|pair| &pair.value)
    }

    /// The ciphertext, if this is a secret: a mapping with the one key `secure` and a text value.
    pub fn secret(&self) -> Option<&str> {
        match self.pairs()? {
            [only] if only.name() == "secure" => only
                .value
                .scalar()
                .filter(|s| s.kind == ScalarKind::String)
                .map(|s| s.text.as_str()),
            _ => None,
        }
    }

    /// Whether a reader sees nothing here.
    pub fn is_null(&self) -> bool {
        self.scalar()
            .is_some_and(|scalar| scalar.kind == ScalarKind::Null)
    }

    /// The value at `path` below this node. A secret has no parts.
    pub fn at(&self, path: &[Segment]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |node, segment| match (segment, &node.content) {
                (Segment::Index(index), Content::List(items)) => items.get(*index),
                (Segment::Key(name), Content::Map(_)) if node.secret().is_none() => node.get(name),
                _ => None,
            })
    }

    /// The value without its places.
    pub fn to_tree(&self) -> Tree {
        match &self.content {
            Content::Scalar(Scalar {
                text,
                kind: ScalarKind::String,
            }) => Tree::String(text.clone()),
            Content::Scalar(Scalar {
                kind: ScalarKind::Null,
                ..
            }) => Tree::null(),
            Content::Scalar(Scalar { text, .. }) => Tree::Plain(text.clone()),
            Content::List(items) => Tree::List(items.iter().map(Self::to_tree).collect()),
            Content::Map(pairs) => {
                let entries = pairs
                    .iter()
                    .map(|pair| (pair.name().to_owned(), pair.value.to_tree()));
                Tree::Map(entries.collect::<BTreeMap<_, _>>())
            }
        }
    }

    /// Whether there is a secret at or below this node.
    pub fn has_secret(&self) -> bool {
        let below = || match &self.content {
            Content::Scalar(_) => false,
            Content::List(items) => items.iter().any(Self::has_secret),
            Content::Map(pairs) => pairs.iter().any(|pair| pair.value.has_secret()),
        };
        self.secret().is_some() || below()
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        self.shape == Shape::Elsewhere
    }

    /// Marks the node and all below as written somewhere else.
    pub(crate) fn moved_elsewhere(mut self) -> Self {
        self.shape = Shape::Elsewhere;
        self.content = match self.content {
            Content::List(items) => {
                Content::List(items.into_iter().map(Self::moved_elsewhere).collect())
            }
            Content::Map(pairs) => Content::Map(
                pairs
                    .into_iter()
                    .map(|pair| Pair {
                        value: pair.value.moved_elsewhere(),
                        ..pair
                    })
                    .collect(),
            ),
            scalar @ Content::Scalar(_) => scalar,
        };
        self
    }
}
