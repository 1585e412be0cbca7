//! Who owns which field: reading `metadata.managedFields` and the conflicts of a server-side apply.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>
//!
//! Paths are written as the API server writes them: `.spec.ports[port=80,protocol="TCP"].name`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field_manager::{FIELD_MANAGER, REPLICAS_MANAGER};
use crate::store::FieldSet;

/// The number of replicas, as the API server spells the path.
pub const REPLICAS_PATH: &str = ".spec.replicas";

/// A field that somebody else owns with another value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Path as the API server spells it: `.spec.replicas`.
    pub path: String,
    /// The owning field manager.
    pub manager: String,
    /// Whether this program applied it before: then it is drift, which an apply repairs, and not
    /// the field of another tool, which it leaves alone.
    pub previously_owned: bool,
}

/// The fields of `live` that this program applied and nobody took since.
pub fn owned(live: &Value) -> FieldSet {
    entries(live)
        .find(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

/// The fields that were applied and are no longer ours in `live`.
pub fn lost_fields(applied: &FieldSet, live: &Value) -> Vec<String> {
    let kept = paths(&owned(live));
    paths(applied).difference(&kept).cloned().collect()
}

/// Managers that own fields of the specification, this program aside. The controllers of the
/// cluster only write the status.
pub fn other_managers(live: &Value) -> BTreeSet<String> {
    entries(live)
        .filter(|entry| entry["manager"] != FIELD_MANAGER && entry["manager"] != REPLICAS_MANAGER)
        .filter(|entry| entry["subresource"] != "status")
        .filter(|entry| {
            entry["fieldsV1"]
                .as_object()
                .is_some_and(|fields| fields.keys().any(|key| key != "f:metadata"))
        })
        .filter_map(|entry| Some(entry["manager"].as_str()?.to_owned()))
        .collect()
}

fn entries(live: &Value) -> impl Iterator<Item = &Value> {
    live["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
}

/// The leaves of a field set.
pub fn paths(fields: &FieldSet) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(fields, &mut String::new(), &mut found);
    found
}

fn collect(fields: &Value, prefix: &mut String, found: &mut BTreeSet<String>) {
    let Some(map) = fields.as_object() else {
        return;
    };
    if map.is_empty() && !prefix.is_empty() {
        found.insert(prefix.clone());
    }
    for (key, below) in map {
        let length = prefix.len();
        // `.` is the container itself.
        if let Some(element) = element(key) {
            prefix.push_str(&element);
            collect(below, prefix, found);
            prefix.truncate(length);
        }
    }
}

fn element(key: &str) -> Option<String> {
    let (kind, rest) = key.split_once(':')?;
    match kind {
        "f" => Some(format!(".{rest}")),
        "v" => Some(format!("[={rest}]")),
        "k" => {
            let keys: Value = serde_json::from_str(rest).ok()?;
            let pairs: Vec<String> = keys
                .as_object()?
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Some(format!("[{}]", pairs.join(",")))
        }
        _ => None,
    }
}

/// Reads one cause of a conflict: the field, and a message such as
/// `conflict with "kubectl" with subresource "scale" using apps/v1`.
pub fn conflict(path: &str, message: &str, applied: Option<&FieldSet>) -> Conflict {
    let manager = message.split('"').nth(1).unwrap_or(message).to_owned();
    Conflict {
        previously_owned: manager == REPLICAS_MANAGER
            || applied.is_some_and(|applied| paths(applied).contains(path)),
        path: path.to_owned(),
        manager,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(manager: &str, fields: &Value) -> Value {
        json!({"metadata": {"managedFields": [
            {"manager": manager, "operation": "Apply", "fieldsV1": fields},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
             "fieldsV1": {"f:status": {}}},
        ]}})
    }

    #[test]
    fn paths_are_spelled_as_the_api_server_spells_them_in_conflicts() {
        let fields = json!({
            "f:metadata": {"f:annotations": {".": {}, "f:a.b/c": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}},
                       "f:finalizers": {"v:\"x\"": {}}},
        });
        let spelled: Vec<String> = paths(&fields).into_iter().collect();
        assert_eq!(
            spelled,
            [
                ".metadata.annotations.a.b/c",
                ".spec.finalizers[=\"x\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].name",
            ]
        );
    }

    #[test]
    fn a_field_that_was_applied_and_taken_is_drift_and_one_never_applied_is_a_conflict() {
        let applied = json!({"f:spec": {"f:replicas": {}}});
        let message = "conflict with \"kubectl\" with subresource \"scale\" using apps/v1";
        let drifted = conflict(".spec.replicas", message, Some(&applied));
        assert_eq!(
            (drifted.manager.as_str(), drifted.previously_owned),
            ("kubectl", true)
        );
        assert!(!conflict(".spec.paused", message, Some(&applied)).previously_owned);
        assert!(!conflict(".spec.replicas", message, None).previously_owned);
    }

    #[test]
    fn what_was_put_by_for_an_autoscaler_is_still_ours() {
        let message = format!("conflict with \"{REPLICAS_MANAGER}\"");
        assert!(conflict(REPLICAS_PATH, &message, None).previously_owned);
        let kept = live(REPLICAS_MANAGER, &json!({"f:spec": {"f:replicas": {}}}));
        assert!(other_managers(&kept).is_empty());
    }

    #[test]
    fn what_was_applied_and_is_not_ours_any_more_is_lost() {
        let applied = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
        let kept = live(FIELD_MANAGER, &json!({"f:spec": {"f:paused": {}}}));
        assert_eq!(lost_fields(&applied, &kept), [".spec.replicas"]);
        assert_eq!(lost_fields(&applied, &live("kubectl", &applied)).len(), 2);
    }

    #[test]
    fn controllers_that_only_write_the_status_are_no_other_managers() {
        let touched = live("kubectl", &json!({"f:spec": {"f:replicas": {}}}));
        assert_eq!(
            other_managers(&touched),
            BTreeSet::from(["kubectl".to_owned()])
        );
        assert!(other_managers(&live(FIELD_MANAGER, &json!({"f:spec": {}}))).is_empty());
    }
}
