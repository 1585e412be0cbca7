//! Which leaves of an object are secret. The rest of this module never sees their values: a
//! [`Redacted`] is built here, and a secret in it has no content.

use serde_json::{Map, Value};

/// A value without its secrets: safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redacted {
    /// A leaf that is no text, as JSON writes it.
    Plain(String),
    /// A string.
    String(String),
    /// A leaf whose value is not for reading.
    Secret,
    /// A list.
    List(Vec<Redacted>),
    /// A map.
    Map(Vec<(String, Redacted)>),
}

/// Decides by kind and path.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    secret_kind: bool,
}

/// kubectl copies the whole object into it, the data of a Secret included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Mask {
    /// The mask for objects of `kind`.
    pub fn for_kind(kind: &str) -> Self {
        Self {
            secret_kind: kind == "Secret",
        }
    }

    /// Whether everything at and below `path` is secret.
    pub fn hides(self, path: &[String]) -> bool {
        let below_data = matches!(
            path.first().map(String::as_str),
            Some("data" | "stringData")
        );
        (self.secret_kind && below_data && path.len() >= 2)
            || (path.len() == 3 && path[1] == "annotations" && path[2] == LAST_APPLIED)
    }

    /// `value`, which stands at `path`, with its secrets left out.
    pub fn show(self, path: &mut Vec<String>, value: &Value) -> Redacted {
        if self.hides(path) {
            return Redacted::Secret;
        }
        match value {
            Value::Object(map) => Redacted::Map(self.show_map(path, map)),
            Value::Array(items) => {
                let mut shown = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    shown.push(self.show(path, item));
                    path.pop();
                }
                Redacted::List(shown)
            }
            Value::String(text) => Redacted::String(text.clone()),
            other => Redacted::Plain(other.to_string()),
        }
    }

    fn show_map(self, path: &mut Vec<String>, map: &Map<String, Value>) -> Vec<(String, Redacted)> {
        let mut shown = Vec::with_capacity(map.len());
        for (key, value) in map {
            path.push(key.clone());
            shown.push((key.clone(), self.show(path, value)));
            path.pop();
        }
        shown
    }
}

impl Redacted {
    /// Nulls, empty lists and empty maps say nothing and are not printed.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Plain(text) => text == "null",
            Self::String(_) | Self::Secret => false,
            Self::List(items) => items.iter().all(Self::is_empty),
            Self::Map(entries) => entries.iter().all(|(_, value)| value.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_data_of_a_secret_is_hidden_leaf_by_leaf_with_kubectls_copy_of_it() {
        let secret = json!({
            "data": {"A": "aHVudGVyMg=="},
            "stringData": {"B": {"deep": "hunter2"}},
            "metadata": {"name": "s", "annotations": {LAST_APPLIED: "hunter2", "note": "seen"}},
        });
        let shown = format!(
            "{:?}",
            Mask::for_kind("Secret").show(&mut Vec::new(), &secret)
        );
        assert!(
            !shown.contains("hunter2") && !shown.contains("aHVudGVyMg"),
            "{shown}"
        );
        assert!(shown.contains("seen") && shown.contains('A'), "{shown}");
    }

    #[test]
    fn a_config_map_is_shown() {
        let shown = Mask::for_kind("ConfigMap").show(&mut Vec::new(), &json!({"data": {"A": "b"}}));
        assert!(format!("{shown:?}").contains("\"b\""));
    }
}
