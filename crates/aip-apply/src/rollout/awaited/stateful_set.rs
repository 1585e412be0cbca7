//! A `StatefulSet` is done by the rule of `kubectl rollout status`: its controller has seen the newest generation,
//! every replica is ready, and all are of the newest revision.

use k8s_openapi::api::apps::v1::StatefulSet as StatefulSetObject;
use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;
use serde_json::Value;

use super::dependency::Dependency;
use crate::rollout::dependency::DependencyState;

/// The label by which the controller says of which revision a Pod is.
const REVISION_LABEL: &str = "controller-revision-hash";

#[derive(Default)]
pub(super) struct StatefulSet;

impl Dependency for StatefulSet {
    const KIND: &'static str = "StatefulSet";
    const LABEL: &'static str = "app.kubernetes.io/name";

    fn resource() -> ApiResource {
        ApiResource::erase::<StatefulSetObject>(&())
    }

    fn state(live: &Value) -> DependencyState {
        let status = &live["status"];
        let desired = live["spec"]["replicas"].as_i64().unwrap_or(1);
        let ready = number(&status["readyReplicas"]);
        if !is_observed(live) {
            DependencyState::Pending(
                "the controller has not observed the new generation yet".to_owned(),
            )
        } else if ready < desired {
            DependencyState::Pending(format!("{ready} of {desired} replicas are ready"))
        } else if status["updateRevision"] != status["currentRevision"] {
            let updated = number(&status["updatedReplicas"]);
            DependencyState::Pending(format!("{updated} of {desired} replicas have been updated"))
        } else {
            DependencyState::Ready
        }
    }

    fn is_current(live: &Value, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        let revision = labels.and_then(|labels| labels.get(REVISION_LABEL));
        let newest = live["status"]["updateRevision"].as_str();
        is_observed(live) && newest.is_some() && newest == revision.map(String::as_str)
    }
}

/// Whether the status is about the object as it is now.
fn is_observed(live: &Value) -> bool {
    number(&live["status"]["observedGeneration"]) >= number(&live["metadata"]["generation"])
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stateful_set_is_ready_when_all_replicas_are_of_the_newest_revision_and_ready() {
        let state = |status: Value| {
            let set =
                json!({"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status});
            StatefulSet::state(&set)
        };
        let waits = |words: &str| DependencyState::Pending(words.to_owned());
        let unseen = waits("the controller has not observed the new generation yet");
        assert_eq!(state(json!({})), unseen);
        assert_eq!(
            state(json!({"observedGeneration": 1, "readyReplicas": 1})),
            unseen
        );
        assert_eq!(
            state(json!({"observedGeneration": 2})),
            waits("0 of 1 replicas are ready")
        );
        let old = json!({"observedGeneration": 2, "readyReplicas": 1, "updateRevision": "b", "currentRevision": "a"});
        assert_eq!(state(old), waits("0 of 1 replicas have been updated"));
        let new = json!({"observedGeneration": 2, "readyReplicas": 1, "updateRevision": "b", "currentRevision": "b"});
        assert_eq!(state(new), DependencyState::Ready);
    }

    #[test]
    fn a_pod_is_current_if_it_is_of_the_newest_revision_that_the_controller_has_made() {
        let set = |observed: i64, revision: Value| {
            json!({"metadata": {"generation": 2},
                "status": {"observedGeneration": observed, "updateRevision": revision}})
        };
        let pod = |labels: Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap()
        };
        let new = pod(json!({REVISION_LABEL: "b"}));
        let old = pod(json!({REVISION_LABEL: "a"}));
        let seen = set(2, "b".into());
        assert!(StatefulSet::is_current(&seen, &new));
        assert!(!StatefulSet::is_current(&seen, &old));
        assert!(!StatefulSet::is_current(&seen, &pod(Value::Null)));
        // Until then `updateRevision` is the one of before.
        assert!(!StatefulSet::is_current(&set(1, "a".into()), &old));
        assert!(!StatefulSet::is_current(
            &set(2, Value::Null),
            &pod(Value::Null)
        ));
    }
}
