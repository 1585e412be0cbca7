//! The difference of two objects as a tree that holds no secret, only that one changed.

use serde_json::{Map, Value};

use super::embedded::{self, Format};
use super::mask::{Mask, Redacted};

/// What changed at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diff {
    /// It is new.
    Added(Redacted),
    /// It is gone.
    Removed(Redacted),
    /// It is another leaf, or another kind of thing.
    Changed(Redacted, Redacted),
    /// A secret beside a changed one that did not change: said, because it cannot be seen.
    SecretUnchanged,
    /// Something below changed.
    Map(Vec<(String, Diff)>),
    /// Something below changed; the numbers count the new list, those of removed items the old.
    List(Vec<(usize, Diff)>),
    /// A text that holds a document, whose content changed.
    Embedded(Format, Box<Diff>),
}

/// Compares two objects, or finds them equal.
pub fn diff(old: &Value, new: &Value, mask: Mask) -> Option<Diff> {
    Comparison {
        mask,
        path: Vec::new(),
    }
    .values(old, new)
}

struct Comparison {
    mask: Mask,
    path: Vec<String>,
}

impl Comparison {
    fn values(&mut self, old: &Value, new: &Value) -> Option<Diff> {
        if old == new {
            return None;
        }
        if self.mask.hides(&self.path) {
            return Some(Diff::Changed(Redacted::Secret, Redacted::Secret));
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => self.maps(old, new),
            (Value::Array(old), Value::Array(new)) => self.lists(old, new),
            (Value::String(a), Value::String(b)) => {
                match embedded::documents(a, b) {
                    Some((format, a, b)) => self
                        .values(&a, &b)
                        .map(|below| Diff::Embedded(format, Box::new(below)))
                        // The same document in another layout.
                        .or_else(|| Some(self.changed(old, new))),
                    None => Some(self.changed(old, new)),
                }
            }
            (Value::Null, _) => self.added(new),
            (_, Value::Null) => self.removed(old),
            _ => Some(self.changed(old, new)),
        }
    }

    fn changed(&mut self, old: &Value, new: &Value) -> Diff {
        Diff::Changed(
            self.mask.show(&mut self.path, old),
            self.mask.show(&mut self.path, new),
        )
    }

    fn added(&mut self, new: &Value) -> Option<Diff> {
        let shown = self.mask.show(&mut self.path, new);
        (!shown.is_empty()).then_some(Diff::Added(shown))
    }

    fn removed(&mut self, old: &Value) -> Option<Diff> {
        let shown = self.mask.show(&mut self.path, old);
        (!shown.is_empty()).then_some(Diff::Removed(shown))
    }

    fn maps(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) -> Option<Diff> {
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        let mut entries = Vec::new();
        let mut quiet_secrets = Vec::new();
        for key in keys {
            self.path.push(key.clone());
            let below = match (old.get(key), new.get(key)) {
                (Some(a), Some(b)) if a == b => {
                    if self.mask.hides(&self.path) {
                        quiet_secrets.push((key.clone(), Diff::SecretUnchanged));
                    }
                    None
                }
                (Some(a), Some(b)) => self.values(a, b),
                (None, Some(b)) => self.added(b),
                (Some(a), None) => self.removed(a),
                (None, None) => None,
            };
            self.path.pop();
            entries.extend(below.map(|below| (key.clone(), below)));
        }
        if entries.is_empty() {
            return None;
        }
        entries.extend(quiet_secrets);
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Some(Diff::Map(entries))
    }

    fn lists(&mut self, old: &[Value], new: &[Value]) -> Option<Diff> {
        let mut items = Vec::new();
        for (old, new) in pairs(old, new) {
            let (index, below) = match (old, new) {
                (Some((index, a)), Some((now, b))) => {
                    self.path.push(index.to_string());
                    (now, self.values(a, b))
                }
                (None, Some((index, b))) => {
                    self.path.push(index.to_string());
                    (index, self.added(b))
                }
                (Some((index, a)), None) => {
                    self.path.push(index.to_string());
                    (index, self.removed(a))
                }
                (None, None) => continue,
            };
            self.path.pop();
            items.extend(below.map(|below| (index, below)));
        }
        (!items.is_empty()).then_some(Diff::List(items))
    }
}

type ListItem<'v> = Option<(usize, &'v Value)>;

/// Which item of the new list was which of the old one: by name where every item has one of its
/// own, as the API server merges them, else by position.
fn pairs<'v>(old: &'v [Value], new: &'v [Value]) -> Vec<(ListItem<'v>, ListItem<'v>)> {
    let (Some(old_names), Some(new_names)) = (names(old), names(new)) else {
        return (0..old.len().max(new.len()))
            .map(|index| {
                let at = |list: &'v [Value]| list.get(index).map(|value| (index, value));
                (at(old), at(new))
            })
            .collect();
    };
    let mut pairs: Vec<(ListItem<'v>, ListItem<'v>)> = new
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let before = old_names.iter().position(|name| *name == new_names[index]);
            (before.map(|i| (i, &old[i])), Some((index, value)))
        })
        .collect();
    pairs.extend(
        old.iter()
            .enumerate()
            .filter(|(index, _)| !new_names.contains(&old_names[*index]))
            .map(|place| (Some(place), None)),
    );
    pairs
}

fn names(items: &[Value]) -> Option<Vec<&str>> {
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let name = item.get("name")?.as_str()?;
        if names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

impl Diff {
    /// The first-level names that were added, changed and removed: what `[diff: …]` lists.
    pub fn top_level(&self) -> [Vec<&str>; 3] {
        let mut lists = [const { Vec::new() }; 3];
        if let Self::Map(entries) = self {
            for (key, below) in entries {
                let list = match below {
                    Self::Added(_) => 0,
                    Self::Removed(_) => 2,
                    Self::SecretUnchanged => continue,
                    _ => 1,
                };
                lists[list].push(key.as_str());
            }
        }
        lists
    }
}
