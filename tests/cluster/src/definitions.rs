//! Custom resource definitions of other projects, which a cluster has only if somebody installs them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use yaml_lossless::Document;

use crate::poll::eventually;

/// The Gateway API: `Gateway`, `HTTPRoute` and `ReferenceGrant`.
pub const GATEWAY_API: &[&str] = &[
    include_str!("../crds/gateway.networking.k8s.io_gateways.yaml"),
    include_str!("../crds/gateway.networking.k8s.io_httproutes.yaml"),
    include_str!("../crds/gateway.networking.k8s.io_referencegrants.yaml"),
];

/// cert-manager: `Certificate`, and `ClusterIssuer` without a schema.
pub const CERT_MANAGER: &[&str] = &[
    include_str!("../crds/cert-manager.io_certificates.yaml"),
    CLUSTER_ISSUER,
];

/// External Secrets Operator: `ExternalSecret`.
pub const EXTERNAL_SECRETS: &[&str] = &[include_str!(
    "../crds/external-secrets.io_externalsecrets.yaml"
)];

/// `CloudNativePG`: `Cluster`.
pub const CLOUDNATIVE_PG: &[&str] = &[include_str!("../crds/postgresql.cnpg.io_clusters.yaml")];

/// The schema of the original lists every way to sign; nothing here depends on one.
const CLUSTER_ISSUER: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: clusterissuers.cert-manager.io
spec:
  group: cert-manager.io
  names: {kind: ClusterIssuer, listKind: ClusterIssuerList, plural: clusterissuers, singular: clusterissuer}
  scope: Cluster
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// Installs definitions and waits until their kinds are served. Those that are there stay.
///
/// # Panics
///
/// If the API server refuses one.
pub async fn install(client: &Client, definitions: &[&str]) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for text in definitions {
        let document = Document::parse(*text).expect("the definition is YAML");
        let definition: CustomResourceDefinition =
            serde_json::from_value(Value::from(&document.root().to_tree()))
                .expect("it is a definition");
        let name = definition.name_any();
        let parameters = PatchParams::apply("cluster-tests").force();
        let applied = api
            .patch(&name, &parameters, &Patch::Apply(&definition))
            .await;
        applied.unwrap_or_else(|error| panic!("{name}: {error}"));
        eventually("the kind is served", async || {
            let live = api.get(&name).await.map_err(|error| error.to_string())?;
            let status = live.status.and_then(|status| status.conditions);
            let mut conditions = status.into_iter().flatten();
            let established = conditions
                .any(|condition| condition.type_ == "Established" && condition.status == "True");
            if established {
                Ok(())
            } else {
                Err(format!("{name} is not established"))
            }
        })
        .await;
    }
}
