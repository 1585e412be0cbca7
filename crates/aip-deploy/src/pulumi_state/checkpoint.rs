//! Pulumi's checkpoint, as far as an adoption needs it: which objects of the cluster it made.
//!
//! Its values are never read: the live cluster and the stack file know everything else.

use aip_apply::cluster::guess_plural;
use aip_stack::desired::ObjectRef;
use serde::Deserialize;

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

pub(crate) fn objects(checkpoint: &str) -> Result<Vec<ObjectRef>, serde_json::Error> {
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
    // The core group has no name in the Kubernetes API.
    let (group, api_version) = match group {
        "core" => ("", version),
        group => (group, group_version),
    };
    let (namespace, name) = match resource.id.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, resource.id.as_str()),
    };
    Some(ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: guess_plural(group, version, kind),
        namespace,
        name: name.to_owned(),
        logical_name: resource.urn.rsplit("::").next()?.to_owned(),
    })
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
    fn an_empty_or_damaged_checkpoint_is_distinguished() {
        assert_eq!(objects(r#"{"checkpoint":{"latest":null}}"#).unwrap(), []);
        assert!(objects("{}").is_err());
    }
}
