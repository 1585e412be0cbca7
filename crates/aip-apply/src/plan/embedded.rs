//! Documents inside strings: a JSON or YAML value of a config map or annotation is compared by its
//! content, not by its layout.

use serde_json::Value;
use yaml_lossless::Document;

/// The format of an embedded document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// As it stands before the value in a diff.
    pub fn label(self) -> &'static str {
        match self {
            Self::Json => "(json)",
            Self::Yaml => "(yaml)",
        }
    }
}

/// Larger strings are compared as strings.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Both strings as documents of one format, if both are lists or maps.
pub(super) fn documents(old: &str, new: &str) -> Option<(Format, Value, Value)> {
    if old.len().max(new.len()) > MAX_DOCUMENT_BYTES {
        return None;
    }
    [(Format::Json, json as fn(&str) -> _), (Format::Yaml, yaml)]
        .into_iter()
        .find_map(|(format, parse)| Some((format, parse(old)?, parse(new)?)))
}

fn json(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    (value.is_object() || value.is_array()).then_some(value)
}

fn yaml(text: &str) -> Option<Value> {
    // Prose is YAML too; a document that somebody wrote as one has more than one line.
    if !text.trim_end().contains('\n') {
        return None;
    }
    let value = Value::from(&Document::parse(text).ok()?.root().to_tree());
    (value.is_object() || value.is_array()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_documents_are_seen_and_prose_is_not() {
        assert!(matches!(
            documents("{\"a\":1}", "[1]"),
            Some((Format::Json, ..))
        ));
        assert!(matches!(
            documents("a: 1\nb: 2\n", "a: 2\nb: 2\n"),
            Some((Format::Yaml, ..))
        ));
        for (old, new) in [("warning: x", "b: y"), ("1", "2"), ("{", "}")] {
            assert!(documents(old, new).is_none(), "{old} {new}");
        }
    }
}
