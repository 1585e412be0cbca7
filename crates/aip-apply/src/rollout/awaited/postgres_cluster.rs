//! A Cluster of `CloudNativePG` is done when it has the condition `Ready`, of which nothing says that it is about
//! an earlier specification. What the operator does meanwhile is in `status.phase`; some phases only a person ends
//! (`api/v1/cluster_types.go` of `CloudNativePG` 1.30; <https://cloudnative-pg.io/documentation/current/troubleshooting/>).

use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;
use serde_json::Value;

use super::dependency::Dependency;
use crate::rollout::dependency::DependencyState;

/// `status.phase` when there is nothing to do.
const HEALTHY_PHASE: &str = "Cluster in healthy state";

/// Phases that do not end by themselves.
const FINAL_PHASES: [&str; 4] = [
    "Cluster is unrecoverable and needs manual intervention",
    "Cluster has incomplete or invalid image catalog",
    "Unable to create required cluster objects",
    "Waiting for user action",
];

#[derive(Default)]
pub(super) struct PostgresCluster;

impl Dependency for PostgresCluster {
    const KIND: &'static str = "Cluster";
    const LABEL: &'static str = "cnpg.io/cluster";

    fn resource() -> ApiResource {
        ApiResource {
            group: "postgresql.cnpg.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "postgresql.cnpg.io/v1".to_owned(),
            kind: Self::KIND.to_owned(),
            plural: "clusters".to_owned(),
        }
    }

    fn state(live: &Value) -> DependencyState {
        let status = &live["status"];
        let conditions = status["conditions"].as_array();
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        let is_at_work = status["phase"]
            .as_str()
            .is_some_and(|phase| phase != HEALTHY_PHASE);
        if let Some(ready) = ready.filter(|_| !is_at_work) {
            return match outdated(live, ready) {
                Some(what) => DependencyState::Pending(what),
                None => DependencyState::Ready,
            };
        }
        let Some(phase) = status["phase"].as_str() else {
            return DependencyState::Pending("not reported by CloudNativePG yet".to_owned());
        };
        let reason = status["phaseReason"].as_str().unwrap_or_default();
        if FINAL_PHASES.contains(&phase) {
            return DependencyState::Failed(phase.to_owned(), reason.to_owned());
        }
        let ready = status["readyInstances"].as_i64().unwrap_or_default();
        let desired = live["spec"]["instances"].as_i64().unwrap_or(1);
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(" ({reason})")
        };
        DependencyState::Pending(format!(
            "{phase}{reason}, {ready} of {desired} instances are ready"
        ))
    }

    /// The operator does not say from what it made a Pod.
    fn is_current(_: &Value, _: &Pod) -> bool {
        true
    }
}

/// What the operator reports of an earlier specification. Only the image, the number of instances and, where the
/// operator tells it, the generation of the condition can be compared.
fn outdated(live: &Value, ready: &Value) -> Option<String> {
    let (spec, status) = (&live["spec"], &live["status"]);
    let seen = ready["observedGeneration"].as_i64();
    let generation = live["metadata"]["generation"].as_i64();
    if seen
        .zip(generation)
        .is_some_and(|(seen, generation)| seen < generation)
    {
        return Some("CloudNativePG has not seen the change yet".to_owned());
    }
    for (desired, actual, what) in [
        (&spec["imageName"], &status["image"], "image"),
        (&spec["instances"], &status["instances"], "instances"),
    ] {
        if !desired.is_null() && !actual.is_null() && desired != actual {
            let text = |value: &Value| value.to_string().replace('"', "");
            let (actual, desired) = (text(actual), text(desired));
            return Some(format!("{what}: {actual} now, {desired} wanted"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_ready_or_at_work_or_waits_for_a_person() {
        let state = |status: Value| {
            PostgresCluster::state(&json!({"spec": {"instances": 3}, "status": status}))
        };
        assert_eq!(
            state(json!({})),
            DependencyState::Pending("not reported by CloudNativePG yet".to_owned())
        );
        let condition =
            |status: &str| json!([{"type": "Ready", "status": status, "reason": "ClusterIsReady"}]);
        assert_eq!(
            state(json!({"conditions": condition("True")})),
            DependencyState::Ready
        );
        let at_work = json!({"conditions": condition("False"), "phase": "Creating a new replica",
            "phaseReason": "Creating replica aip-postgres-2", "readyInstances": 1});
        let words =
            "Creating a new replica (Creating replica aip-postgres-2), 1 of 3 instances are ready";
        assert_eq!(state(at_work), DependencyState::Pending(words.to_owned()));
        // The condition may be one of before.
        let at_work = json!({"conditions": condition("True"), "phase": "Upgrading cluster", "readyInstances": 2});
        let words = "Upgrading cluster, 2 of 3 instances are ready";
        assert_eq!(state(at_work), DependencyState::Pending(words.to_owned()));
        for phase in FINAL_PHASES {
            let status =
                json!({"conditions": condition("False"), "phase": phase, "phaseReason": "why"});
            let failed = DependencyState::Failed(phase.to_owned(), "why".to_owned());
            assert_eq!(state(status), failed);
        }
    }

    #[test]
    fn what_is_reported_of_an_earlier_specification_is_not_ready() {
        let cluster = |pointer: &str, value: Value| {
            let mut live = json!({
                "metadata": {"generation": 4},
                "spec": {"instances": 3, "imageName": "postgresql:18"},
                "status": {"phase": HEALTHY_PHASE, "instances": 3, "image": "postgresql:18",
                    "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 4}]},
            });
            *live.pointer_mut(pointer).unwrap() = value;
            PostgresCluster::state(&live)
        };
        let pending = |words: &str| DependencyState::Pending(words.to_owned());
        assert_eq!(
            cluster("/status/instances", json!(3)),
            DependencyState::Ready
        );
        let unseen = cluster("/status/conditions/0/observedGeneration", json!(3));
        assert_eq!(unseen, pending("CloudNativePG has not seen the change yet"));
        let image = cluster("/status/image", json!("postgresql:17"));
        assert_eq!(
            image,
            pending("image: postgresql:17 now, postgresql:18 wanted")
        );
        let fewer = cluster("/status/instances", json!(1));
        assert_eq!(fewer, pending("instances: 1 now, 3 wanted"));
        // An operator that does not report them is believed.
        for pointer in [
            "/status/image",
            "/status/conditions/0/observedGeneration",
            "/status/phase",
        ] {
            assert_eq!(
                cluster(pointer, Value::Null),
                DependencyState::Ready,
                "{pointer}"
            );
        }
    }
}
