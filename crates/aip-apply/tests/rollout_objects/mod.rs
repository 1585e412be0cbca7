//! A rollout midway, as the controllers and kubelets report it.

use aip_apply::rollout::Rollout;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

fn owned_by(uid: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": "K", "name": "o", "uid": uid, "controller": true}])
}

/// A Deployment of three replicas at revision 2, of which the status says this.
pub(crate) fn deployment(status: &Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "aip", "uid": "d", "generation": 2,
                     "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": 3, "selector": {}, "template": {}},
        "status": status,
    }))
    .unwrap()
}

/// A `ReplicaSet` of the Deployment; the tag of its image is its revision.
pub(crate) fn set(name: &str, revision: &str, desired: i32, ready: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": name, "ownerReferences": owned_by("d"),
                     "annotations": {"deployment.kubernetes.io/revision": revision}},
        "spec": {"replicas": desired, "selector": {}, "template": {"spec": {"containers": [
            {"name": "aip", "image": format!("registry.example/aip:v{revision}")},
        ]}}},
        "status": {"replicas": desired, "readyReplicas": ready},
    }))
    .unwrap()
}

/// A Pod of a `ReplicaSet` with this status.
pub(crate) fn pod(set: &str, name: &str, status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": name, "ownerReferences": owned_by(set)},
        "spec": {"initContainers": [{"name": "migrate"}], "containers": [{"name": "aip"}]},
        "status": status,
    }))
    .unwrap()
}

/// The status of a Pod that is ready.
pub(crate) fn ready() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
}

/// A Pod whose container waits for `reason` after so many restarts.
pub(crate) fn waiting(list: &str, name: &str, reason: &str, restarts: i32) -> Value {
    json!({"phase": "Pending", list: [{
        "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": restarts,
        "state": {"waiting": {"reason": reason, "message": "Back-off pulling image \"i\": not found"}},
        "lastState": {"terminated": {"exitCode": 3}},
    }]})
}

/// One old Pod that serves, one new Pod with this status.
pub(crate) fn midway(status: &Value) -> Rollout {
    Rollout::read(
        &deployment(
            &json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 1, "availableReplicas": 3}),
        ),
        &[
            set("aip-new", "2", 1, 0),
            set("aip-old", "1", 3, 3),
            set("aip-gone", "0", 0, 0),
        ],
        &[
            pod("aip-old", "aip-old-1", &ready()),
            pod("aip-new", "aip-new-1", status),
            pod("other", "x", status),
        ],
        &[],
    )
}
