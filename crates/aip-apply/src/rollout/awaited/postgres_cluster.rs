//! A Cluster of `CloudNativePG` is done when it has the condition `Ready`. What the operator does meanwhile is in
//! `status.phase`; some phases only a person ends
//! (`api/v1/cluster_types.go` of `CloudNativePG` 1.30; <https://cloudnative-pg.io/documentation/current/troubleshooting/>).

use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;
use serde_json::Value;

use super::dependency::Dependency;
use crate::rollout::dependency::DependencyState;

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
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        if is_ready {
            return DependencyState::Ready;
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
        for phase in FINAL_PHASES {
            let status =
                json!({"conditions": condition("False"), "phase": phase, "phaseReason": "why"});
            let failed = DependencyState::Failed(phase.to_owned(), "why".to_owned());
            assert_eq!(state(status), failed);
        }
    }
}
