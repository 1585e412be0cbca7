//! Objects of a live stack as they were recorded, and plans for them.

use aip_apply::plan::{Namespace, Observed, Plan, Proposed, Stale, build, server_fields};
use aip_stack::desired::{Desired, ObjectRef, Phase};
use serde_json::{Value, json};
use yaml_lossless::Document;

const LIVE: &str = include_str!("../fixtures/live-objects-after-update.yaml");

/// The six recorded objects, in the order of the recording.
pub(crate) fn objects() -> Vec<Value> {
    let document = Document::parse(LIVE).unwrap();
    let items = Value::from(&document.root().to_tree())["items"].take();
    let items = items.as_array().unwrap().clone();
    assert_eq!(items.len(), 6);
    items
}

/// The object as it is desired.
pub(crate) fn desired(value: &Value) -> Desired {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (kind, name) = (text(&value["kind"]), text(&value["metadata"]["name"]));
    let logical_name = match name.rsplit_once('-') {
        Some((logical, _)) if kind == "Secret" => logical.to_owned(),
        _ => name.clone(),
    };
    let object = ObjectRef {
        api_version: text(&value["apiVersion"]),
        plural: format!("{}s", kind.to_lowercase()),
        kind,
        namespace: value["metadata"]["namespace"].as_str().map(str::to_owned),
        name,
        logical_name,
    };
    Desired::new(
        object,
        server_fields::strip_server_fields(value),
        Phase::Workload,
    )
}

/// What the cluster says of an object that is `live` and would become `proposed`.
pub(crate) fn observed(live: Option<Value>, proposed: Value) -> Observed {
    Observed::new(live, Proposed::Server(proposed))
}

/// The plan for the recorded stack after `change` was made to one of its objects.
pub(crate) fn plan_after(kind: &str, change: impl Fn(&mut Value)) -> Plan {
    let pairs = objects()
        .into_iter()
        .map(|live| {
            let mut updated = live.clone();
            if live["kind"] == kind {
                change(&mut updated);
            }
            (desired(&updated), observed(Some(live), updated))
        })
        .collect();
    build(pairs, Vec::new(), &[], Namespace::Exists)
}

/// Gives the server of a Deployment another image.
pub(crate) fn new_tag(deployment: &mut Value) {
    for list in ["containers", "initContainers"] {
        deployment["spec"]["template"]["spec"][list][0]["image"] =
            "registry.example.com/aip:v0.1.4".into();
    }
}

/// The recorded stack as it is wanted, with former versions of a Secret: `old` is of a
/// `ReplicaSet`, `older` of none any more.
pub(crate) fn after_a_rotation(former: &[&str]) -> Plan {
    let stale = former.iter().map(|version| Stale {
        object: ObjectRef {
            name: format!("aip-env-main-{version}"),
            logical_name: "aip-env-main".to_owned(),
            ..desired(&objects()[3]).object().clone()
        },
        live: (*version != "gone").then(|| json!({"metadata": {"uid": version}})),
    });
    let replica_set = json!({"spec": {"template": {"spec": {
        "containers": [{"envFrom": [{"secretRef": {"name": "aip-env-main-old"}}]}]}}}});
    let pairs = objects()
        .into_iter()
        .map(|live| (desired(&live), observed(Some(live.clone()), live)))
        .collect();
    build(pairs, stale.collect(), &[replica_set], Namespace::Exists)
}
