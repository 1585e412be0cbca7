//! Which Secrets a Pod template refers to.

use std::collections::BTreeSet;

use serde_json::Value;

/// The names of all Secrets that the Pod templates of these `ReplicaSet`s refer to.
pub fn secrets_of(replica_sets: &[Value]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for replica_set in replica_sets {
        collect(&replica_set["spec"]["template"]["spec"], &mut names);
    }
    names
}

/// The names of all Secrets that a `PodSpec` refers to.
pub fn secrets_of_pod(pod_spec: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(pod_spec, &mut names);
    names
}

/// `secretRef.name`, `secretKeyRef.name`, `secret.secretName`, `secret.name` of a projection and
/// `imagePullSecrets[].name`: wherever they stand, so that a new place in the API is not missed.
fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, below) in map {
                let name = match key.as_str() {
                    "secretRef" | "secretKeyRef" | "secret" => {
                        below["name"].as_str().or(below["secretName"].as_str())
                    }
                    _ => None,
                };
                names.extend(name.map(str::to_owned));
                if key == "imagePullSecrets" {
                    let listed = below.as_array().into_iter().flatten();
                    names.extend(listed.filter_map(|item| Some(item["name"].as_str()?.to_owned())));
                }
                collect(below, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_reference_is_found() {
        let replica_set = json!({"spec": {"template": {"spec": {
            "initContainers": [{"envFrom": [{"secretRef": {"name": "init"}}]}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
            "volumes": [
                {"secret": {"secretName": "volume"}},
                {"projected": {"sources": [{"secret": {"name": "projected"}}]}},
            ],
            "imagePullSecrets": [{"name": "pull"}],
        }}}});
        let names: Vec<String> = secrets_of(&[replica_set]).into_iter().collect();
        assert_eq!(names, ["init", "key", "projected", "pull", "volume"]);
    }
}
