//! A `StatefulSet` is done by the rule of `kubectl rollout status`: its controller has seen the newest generation,
//! every replica is ready, and all are of the newest revision.

use k8s_openapi::api::apps::v1::StatefulSet as StatefulSetObject;
use kube::core::ApiResource;
use serde_json::Value;

use super::dependency::Dependency;
use crate::rollout::dependency::DependencyState;

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
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        let observed = number(&status["observedGeneration"]);
        let desired = live["spec"]["replicas"].as_i64().unwrap_or(1);
        let ready = number(&status["readyReplicas"]);
        if observed < number(&live["metadata"]["generation"]) {
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
}
