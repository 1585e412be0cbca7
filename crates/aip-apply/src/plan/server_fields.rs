//! The part of an object that a deployment is about: without status, versions and bookkeeping.

use serde_json::Value;

/// Fields of the metadata that the API server keeps for itself.
const SERVER_METADATA_FIELDS: [&str; 7] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// `object` without what differs between two reads of the same intention.
pub fn strip_server_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in SERVER_METADATA_FIELDS {
                metadata.remove(field);
            }
        }
    }
    object
}

/// What the live object would become if `desired` were laid over it: the preview of last resort,
/// where the API server cannot be asked. It knows neither defaults nor webhooks nor removals.
pub fn merge_estimate(live: &Value, desired: &Value) -> Value {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => {
            let mut merged = live.clone();
            for (key, value) in desired {
                let below = match live.get(key) {
                    Some(old) => merge_estimate(old, value),
                    None => value.clone(),
                };
                merged.insert(key.clone(), below);
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(desired)) => {
            let old_of = |index: usize, item: &Value| match item.get("name") {
                Some(name) => live.iter().find(|old| old.get("name") == Some(name)),
                None => live.get(index),
            };
            desired
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    old_of(index, item)
                        .map_or_else(|| item.clone(), |old| merge_estimate(old, item))
                })
                .collect()
        }
        _ => desired.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn two_reads_of_one_object_are_equal() {
        let read = |version: &str| {
            json!({
                "metadata": {"name": "aip", "resourceVersion": version, "managedFields": [{}]},
                "spec": {"replicas": 3},
                "status": {"replicas": version},
            })
        };
        assert_eq!(
            strip_server_fields(&read("1")),
            strip_server_fields(&read("2"))
        );
        assert_eq!(strip_server_fields(&read("1"))["metadata"]["name"], "aip");
    }

    #[test]
    fn an_overlay_keeps_defaults_of_list_items_found_by_name() {
        let live = json!({"c": [{"name": "a", "image": "1", "default": true}, {"name": "gone"}]});
        let desired = json!({"c": [{"name": "a", "image": "2"}]});
        assert_eq!(
            merge_estimate(&live, &desired),
            json!({"c": [{"name": "a", "image": "2", "default": true}]})
        );
    }
}
