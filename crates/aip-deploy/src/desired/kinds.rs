//! The kinds of objects that a stack has, and where the API server serves them.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use super::{Desired, Phase};

/// A kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Secret,
    ServiceAccount,
    Service,
    Deployment,
    Job,
    PodDisruptionBudget,
    HorizontalPodAutoscaler,
    NetworkPolicy,
    PodMonitor,
}

impl Kind {
    /// Group, version, kind, plural.
    fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::Job => ("batch", "v1", "Job", "jobs"),
            Self::PodDisruptionBudget => (
                "policy",
                "v1",
                "PodDisruptionBudget",
                "poddisruptionbudgets",
            ),
            Self::HorizontalPodAutoscaler => (
                "autoscaling",
                "v2",
                "HorizontalPodAutoscaler",
                "horizontalpodautoscalers",
            ),
            Self::NetworkPolicy => (
                "networking.k8s.io",
                "v1",
                "NetworkPolicy",
                "networkpolicies",
            ),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
        }
    }

    fn phase(self) -> Phase {
        match self {
            Self::Job => Phase::Migration,
            Self::Service | Self::Deployment | Self::HorizontalPodAutoscaler | Self::PodMonitor => {
                Phase::Workload
            }
            Self::Secret
            | Self::ServiceAccount
            | Self::PodDisruptionBudget
            | Self::NetworkPolicy => Phase::Foundation,
        }
    }

    /// An object of this kind. `body` holds everything but metadata.
    pub(super) fn object(self, logical_name: &str, metadata: Value, body: Value) -> Desired {
        let (group, version, kind, plural) = self.names();
        let kind =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let mut object = DynamicObject::new("", &kind);
        // The metadata is written in this folder, and only with fields that the type has.
        object.metadata = serde_json::from_value(metadata).unwrap_or_default();
        object.data = body;
        Desired {
            logical_name: logical_name.to_owned(),
            object,
            kind,
            phase: self.phase(),
        }
    }
}
