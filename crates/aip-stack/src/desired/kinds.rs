//! The kinds of objects that a stack has: where the API server serves them, and in which phase they
//! are applied.

use std::collections::BTreeMap;

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Map, Value, json};

use super::{Desired, ObjectRef, Phase};

/// Group and version of the Gateway API.
pub(super) const GATEWAY_API: (&str, &str) = ("gateway.networking.k8s.io", "v1");

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
    HttpRoute,
    ReferenceGrant,
    Ingress,
    Certificate,
    ExternalSecret,
    StatefulSet,
    PostgresCluster,
    ScheduledBackup,
}

/// Metadata of an object; empty maps are left out.
pub(super) struct ObjectMetadata {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// `apiVersion`, `kind` and the plural of the path.
struct ApiKind {
    api_version: &'static str,
    kind: &'static str,
    plural: &'static str,
}

impl ApiKind {
    const fn of<K: Resource>() -> Self {
        Self {
            api_version: K::API_VERSION,
            kind: K::KIND,
            plural: K::URL_PATH_SEGMENT,
        }
    }
}

impl Kind {
    fn api(self) -> ApiKind {
        match self {
            Self::Secret => ApiKind::of::<Secret>(),
            Self::ServiceAccount => ApiKind::of::<ServiceAccount>(),
            Self::Service => ApiKind::of::<Service>(),
            Self::Deployment => ApiKind::of::<Deployment>(),
            Self::Job => ApiKind::of::<Job>(),
            Self::PodDisruptionBudget => ApiKind::of::<PodDisruptionBudget>(),
            Self::HorizontalPodAutoscaler => ApiKind::of::<HorizontalPodAutoscaler>(),
            Self::NetworkPolicy => ApiKind::of::<NetworkPolicy>(),
            // A custom resource of the Prometheus operator.
            Self::PodMonitor => ApiKind {
                api_version: "monitoring.coreos.com/v1",
                kind: "PodMonitor",
                plural: "podmonitors",
            },
            Self::HttpRoute => ApiKind {
                api_version: "gateway.networking.k8s.io/v1",
                kind: "HTTPRoute",
                plural: "httproutes",
            },
            Self::ReferenceGrant => ApiKind {
                api_version: "gateway.networking.k8s.io/v1beta1",
                kind: "ReferenceGrant",
                plural: "referencegrants",
            },
            Self::Ingress => ApiKind::of::<Ingress>(),
            // A custom resource of cert-manager.
            Self::Certificate => ApiKind {
                api_version: "cert-manager.io/v1",
                kind: "Certificate",
                plural: "certificates",
            },
            Self::StatefulSet => ApiKind::of::<StatefulSet>(),
            // Custom resources of CloudNativePG.
            Self::PostgresCluster => ApiKind {
                api_version: "postgresql.cnpg.io/v1",
                kind: "Cluster",
                plural: "clusters",
            },
            Self::ScheduledBackup => ApiKind {
                api_version: "postgresql.cnpg.io/v1",
                kind: "ScheduledBackup",
                plural: "scheduledbackups",
            },
            // A custom resource of the External Secrets Operator.
            Self::ExternalSecret => ApiKind {
                api_version: "external-secrets.io/v1",
                kind: "ExternalSecret",
                plural: "externalsecrets",
            },
        }
    }

    fn phase(self) -> Phase {
        match self {
            Self::StatefulSet | Self::PostgresCluster | Self::ScheduledBackup => Phase::Dependency,
            Self::Job => Phase::Migration,
            Self::Service
            | Self::Deployment
            | Self::HorizontalPodAutoscaler
            | Self::PodMonitor
            | Self::HttpRoute
            | Self::Ingress => Phase::Workload,
            Self::Secret
            | Self::ServiceAccount
            | Self::PodDisruptionBudget
            | Self::NetworkPolicy
            | Self::ReferenceGrant
            | Self::ExternalSecret
            | Self::Certificate => Phase::Foundation,
        }
    }

    /// An object of this kind. `fields` are those beside `apiVersion`, `kind` and `metadata`.
    pub(super) fn object(
        self,
        logical_name: &str,
        metadata: ObjectMetadata,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Desired {
        let ApiKind {
            api_version,
            kind,
            plural,
        } = self.api();
        let object = ObjectRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespace: Some(metadata.namespace.clone()),
            name: metadata.name.clone(),
            logical_name: logical_name.to_owned(),
        };
        let mut manifest = Map::from_iter([
            ("apiVersion".to_owned(), api_version.into()),
            ("kind".to_owned(), kind.into()),
            ("metadata".to_owned(), metadata.into_json()),
        ]);
        manifest.extend(
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        Desired::new(object, Value::Object(manifest), self.phase())
    }
}

impl ObjectMetadata {
    fn into_json(self) -> Value {
        let mut metadata = json!({"name": self.name, "namespace": self.namespace});
        for (field, map) in [("labels", self.labels), ("annotations", self.annotations)] {
            if !map.is_empty() {
                metadata[field] = json!(map);
            }
        }
        metadata
    }
}
