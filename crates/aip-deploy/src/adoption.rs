//! Pulumi's checkpoint, as far as an adoption needs it: which objects of the cluster it made.
//!
//! Its values are never read: the live cluster and the stack file know everything else.

use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;
use serde_json::Value;

use crate::desired::ObjectRef;

/// What the field managers of Pulumi's Kubernetes provider begin with: `pulumi-kubernetes` made
/// the object, `pulumi-kubernetes-<8 hex>` updated it.
const MANAGER_PREFIX: &str = "pulumi-kubernetes";

#[derive(Deserialize)]
struct File {
    checkpoint: Checkpoint,
}

#[derive(Deserialize)]
struct Checkpoint {
    latest: Option<Latest>,
}

#[derive(Deserialize)]
struct Latest {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    urn: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: String,
}

/// The objects that the checkpoint lists.
pub fn objects(checkpoint: &str) -> Result<Vec<ObjectRef>, serde_json::Error> {
    let file: File = serde_json::from_str(checkpoint)?;
    let resources = file
        .checkpoint
        .latest
        .map_or_else(Vec::new, |latest| latest.resources);
    Ok(resources.iter().filter_map(object).collect())
}

/// `kubernetes:apps/v1:Deployment` with the id `aip-main/aip`.
fn object(resource: &Resource) -> Option<ObjectRef> {
    let (group_version, kind) = resource
        .kind
        .strip_prefix("kubernetes:")?
        .rsplit_once(':')?;
    let (group, version) = group_version.split_once('/')?;
    let group = if group == "core" { "" } else { group };
    let resource_kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let (namespace, name) = match resource.id.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, resource.id.as_str()),
    };
    Some(ObjectRef {
        api_version: resource_kind.api_version,
        kind: resource_kind.kind,
        plural: resource_kind.plural,
        namespace,
        name: name.to_owned(),
        logical_name: resource.urn.rsplit("::").next()?.to_owned(),
    })
}

/// Whether a field manager is one of Pulumi's.
pub fn is_pulumi(manager: &str) -> bool {
    manager.starts_with(MANAGER_PREFIX)
}

/// The managed fields of an object without Pulumi's, if there are any of Pulumi's. A field that
/// only Pulumi still claims would never go away again.
pub fn without_pulumi(live: &Value) -> Option<Vec<Value>> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    let others: Vec<Value> = entries
        .iter()
        .filter(|entry| !entry["manager"].as_str().is_some_and(is_pulumi))
        .cloned()
        .collect();
    (others.len() < entries.len()).then_some(others)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_of_the_cluster_are_found_with_their_logical_names() {
        let checkpoint = json!({"version": 3, "checkpoint": {"latest": {"resources": [
            {"urn": "urn:pulumi:main::aip::pulumi:pulumi:Stack::aip-main", "type": "pulumi:pulumi:Stack"},
            {"urn": "urn:pulumi:main::aip::aip:index:AIPService$kubernetes:core/v1:Secret::aip-env-main",
             "type": "kubernetes:core/v1:Secret", "id": "aip-main/aip-env-main-5bc058ed"},
            {"urn": "urn:pulumi:main::aip::x$kubernetes:apps/v1:Deployment::aip",
             "type": "kubernetes:apps/v1:Deployment", "id": "aip-main/aip"},
        ]}}});
        let found = objects(&checkpoint.to_string()).unwrap();
        let named: Vec<(&str, String, &str)> = found
            .iter()
            .map(|object| {
                (
                    object.plural.as_str(),
                    object.id(),
                    object.logical_name.as_str(),
                )
            })
            .collect();
        assert_eq!(
            named,
            [
                (
                    "secrets",
                    "aip-main/aip-env-main-5bc058ed".to_owned(),
                    "aip-env-main"
                ),
                ("deployments", "aip-main/aip".to_owned(), "aip"),
            ]
        );
        assert_eq!(found[0].api_version, "v1");
    }

    #[test]
    fn an_empty_or_damaged_checkpoint_is_told_apart() {
        assert_eq!(objects(r#"{"checkpoint":{"latest":null}}"#).unwrap(), []);
        assert!(objects("{}").is_err());
    }

    #[test]
    fn both_kinds_of_pulumis_managers_are_taken_out_and_nobody_elses() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": "pulumi-kubernetes"}, {"manager": "pulumi-kubernetes-1410ffbe"},
            {"manager": "kube-controller-manager"}, {"manager": "aip-deploy"}]}});
        let left = without_pulumi(&live).unwrap();
        assert_eq!(
            left,
            [
                json!({"manager": "kube-controller-manager"}),
                json!({"manager": "aip-deploy"})
            ]
        );
        assert_eq!(
            without_pulumi(&json!({"metadata": {"managedFields": left}})),
            None
        );
    }
}
