//! JSON whose bytes depend on its content only.

use serde::Serialize;
use serde_json::Value;

/// Writes a value with sorted names: maps in memory have an order of their own at each run.
pub fn sorted(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&sort(serde_json::to_value(value)?))
}

fn sort(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            let fields = fields.into_iter();
            Value::Object(fields.map(|(name, value)| (name, sort(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sort).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn names_are_sorted_at_every_depth() {
        let inner: HashMap<String, u32> = ('a'..='z').map(|it| (it.to_string(), 1)).collect();
        let text = String::from_utf8(sorted(&vec![inner]).unwrap()).unwrap();
        let mut names: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
        assert_eq!(names.len(), 26);
        assert!(names.is_sorted(), "{text}");
        names.dedup();
        assert_eq!(names.len(), 26);
    }
}
