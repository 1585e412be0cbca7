//! A value without a place in a file, and what `config set` and `config rm` do to it.

use std::collections::BTreeMap;

use serde_json::Value;

/// A step of a path into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A key of a mapping.
    Key(String),
    /// A place in a list.
    Index(usize),
}

/// A value to write, or a value read, without its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// Text.
    String(String),
    /// A scalar of another type (`true`, `5`, `null`), as it is written.
    Plain(String),
    /// A sequence.
    List(Vec<Self>),
    /// A mapping.
    Map(BTreeMap<String, Self>),
}

/// An edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Put this value there.
    Set(Tree),
    /// Take away what is there.
    Remove,
}

/// Why a path does not lead anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// An index is behind the end of a list (one behind the last place appends).
    #[error(
        "the list has {length} items, so index {index} is out of range: use [{length}] to append"
    )]
    OutOfRange {
        /// The index.
        index: usize,
        /// The length of the list.
        length: usize,
    },
    /// A list stands where the path has a key.
    #[error("the value is a list where the path has `{key}`: use an index such as [0]")]
    ExpectedIndex {
        /// The key.
        key: String,
    },
    /// A mapping or a single value stands where the path has an index.
    #[error("expected an array: the value is not a list where the path has [{index}]")]
    ExpectedList {
        /// The index.
        index: usize,
    },
    /// A single value stands where the path goes deeper.
    #[error("expected a map: the path continues with `{key}` below a single value")]
    ExpectedMap {
        /// The key.
        key: String,
    },
    /// The path goes into an encrypted value.
    #[error("an encrypted value has no parts: remove it or set it as a whole")]
    InsideSecret,
    /// The result would be `{secure: text}`, which every reader takes for a secret.
    #[error(
        "a map whose only key is `secure` means an encrypted value: use --secret, or another name"
    )]
    SecureIsReserved,
    /// A list index that would create a huge list.
    #[error("index {index} is beyond the limit of {limit}")]
    IndexTooLarge {
        /// The index.
        index: usize,
        /// The limit.
        limit: usize,
    },
}

/// More places than any configuration has; `[999999999]` must not fill the memory.
const MAX_LIST: usize = 10_000;

impl Tree {
    /// An absent value.
    pub fn null() -> Self {
        Self::Plain("null".to_owned())
    }

    /// An encrypted value, as the file holds it.
    pub fn secret(ciphertext: String) -> Self {
        Self::Map(BTreeMap::from([(
            "secure".to_owned(),
            Self::String(ciphertext),
        )]))
    }

    /// Whether this is an encrypted value.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Map(map) if map.len() == 1 && matches!(map.get("secure"), Some(Self::String(_))))
    }

    /// The value with `change` made at `path`; `None` when the value itself is removed. Missing
    /// parents are created; removing what is not there changes nothing.
    pub fn changed(self, path: &[Segment], change: &Change) -> Result<Option<Self>, TreeError> {
        let Some((step, rest)) = path.split_first() else {
            return Ok(match change {
                Change::Set(value) => Some(value.clone()),
                Change::Remove => None,
            });
        };
        if self.is_secret() {
            return Err(TreeError::InsideSecret);
        }
        match (step, self) {
            (Segment::Key(name), Self::Map(mut map)) => {
                let child = map.remove(name);
                if child.is_none() && *change == Change::Remove {
                    return Ok(Some(Self::Map(map)));
                }
                if let Some(child) = child.unwrap_or_else(Self::null).changed(rest, change)? {
                    map.insert(name.clone(), child);
                }
                let map = Self::Map(map);
                if map.is_secret() {
                    Err(TreeError::SecureIsReserved)
                } else {
                    Ok(Some(map))
                }
            }
            (Segment::Index(index), Self::List(mut items)) => {
                let (index, length) = (*index, items.len());
                if *change == Change::Remove && index >= length {
                    return Ok(Some(Self::List(items)));
                }
                if index > length {
                    return Err(TreeError::OutOfRange { index, length });
                }
                let child = if index < length {
                    items.remove(index)
                } else {
                    Self::null()
                };
                if let Some(child) = child.changed(rest, change)? {
                    items.insert(index, child);
                }
                Ok(Some(Self::List(items)))
            }
            (_, value) if *change == Change::Remove => Ok(Some(value)),
            (step, value) if value == Self::null() => {
                let empty = match *step {
                    Segment::Key(_) => Self::Map(BTreeMap::new()),
                    Segment::Index(index) if index >= MAX_LIST => {
                        return Err(TreeError::IndexTooLarge {
                            index,
                            limit: MAX_LIST,
                        });
                    }
                    Segment::Index(index) => Self::List(vec![Self::null(); index]),
                };
                empty.changed(path, change)
            }
            (Segment::Key(key), Self::List(_)) => {
                Err(TreeError::ExpectedIndex { key: key.clone() })
            }
            (Segment::Key(key), _) => Err(TreeError::ExpectedMap { key: key.clone() }),
            (Segment::Index(index), _) => Err(TreeError::ExpectedList { index: *index }),
        }
    }
}

impl From<&Tree> for Value {
    /// A scalar whose spelling JSON does not have (`0x1F`, `.inf`) becomes its text.
    fn from(tree: &Tree) -> Self {
        match tree {
            Tree::String(text) => Self::String(text.clone()),
            Tree::Plain(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
            Tree::List(items) => items.iter().map(Self::from).collect(),
            Tree::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.clone(), Self::from(value)))
                .collect(),
        }
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::null(),
            Value::Bool(value) => Self::Plain(value.to_string()),
            Value::Number(number) => Self::Plain(number.to_string()),
            Value::String(text) => Self::String(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(map) => Self::Map(
                map.into_iter()
                    .map(|(key, value)| (key, Self::from(value)))
                    .collect(),
            ),
        }
    }
}
