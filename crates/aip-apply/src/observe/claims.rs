//! The `PersistentVolumeClaim`s of a `StatefulSet`: its controller makes them, and they outlive it
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention>).
//! They are found by their names, which others may have given to theirs: a plan keeps them, whatever
//! annotation they have, until they are named.

use aip_stack::desired::ObjectRef;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::plan::Stale;

/// The claims of a live `StatefulSet`; none of any other object.
pub(super) fn of(stale: &Stale) -> Vec<ObjectRef> {
    let Some(live) = &stale.live else {
        return Vec::new();
    };
    if (stale.object.group(), stale.object.kind.as_str()) != ("apps", "StatefulSet") {
        return Vec::new();
    }
    let spec = &live["spec"];
    let replicas = spec["replicas"].as_u64().unwrap_or(1);
    let templates = spec["volumeClaimTemplates"].as_array();
    let names = templates
        .into_iter()
        .flatten()
        .filter_map(|template| template["metadata"]["name"].as_str());
    names
        .flat_map(|template| (0..replicas).map(move |ordinal| (template, ordinal)))
        .map(|(template, ordinal)| {
            let name = format!("{template}-{}-{ordinal}", stale.object.name);
            ObjectRef::of::<PersistentVolumeClaim>(stale.object.namespace.as_deref(), &name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_stateful_set_has_a_claim_for_each_template_and_replica() {
        let live = json!({"spec": {"replicas": 2, "volumeClaimTemplates": [
            {"metadata": {"name": "data"}}, {"metadata": {"name": "log"}}]}});
        let names = |object: ObjectRef, live: Option<Value>| -> Vec<String> {
            let claims = of(&Stale { object, live });
            claims.iter().map(ToString::to_string).collect()
        };
        let set = ObjectRef::of::<StatefulSet>(Some("aip-main"), "aip-valkey");
        assert_eq!(
            names(set.clone(), Some(live.clone())),
            [
                "PersistentVolumeClaim aip-main/data-aip-valkey-0",
                "PersistentVolumeClaim aip-main/data-aip-valkey-1",
                "PersistentVolumeClaim aip-main/log-aip-valkey-0",
                "PersistentVolumeClaim aip-main/log-aip-valkey-1",
            ]
        );
        assert_eq!(names(set.clone(), None), [""; 0]);
        assert_eq!(names(set, Some(json!({"spec": {}}))), [""; 0]);
        let deployment = ObjectRef::of::<Deployment>(Some("aip-main"), "aip");
        assert_eq!(names(deployment, Some(live)), [""; 0]);
    }
}
