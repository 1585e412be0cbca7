//! An Ingress of a class that exists already: the public paths of one host, over TLS.

use k8s_openapi::api::networking::v1::IngressClass;
use serde_json::{Value, json};

use super::certificate::SECRET_NAME;
use super::public_paths::PUBLIC_PATHS;
use super::{PublicPath, SERVICE_NAME, SERVICE_PORT};
use crate::config::fields::{EDGE_ANNOTATIONS, INGRESS_CLASS};
use crate::config::{IngressEdge, StackConfig};
use crate::desired::common::labelled_metadata;
use crate::desired::kinds::Kind;
use crate::desired::{Desired, ObjectRef, Requirement};

/// Leads the public paths to the Pods. What none of them is, the controller answers with 404.
pub(super) fn ingress(config: &StackConfig, edge: &IngressEdge) -> Desired {
    let backend = json!({"service": {"name": SERVICE_NAME, "port": {"name": SERVICE_PORT.0}}});
    let of = |path: &PublicPath| {
        let kind = if path.is_prefix { "Prefix" } else { "Exact" };
        json!({"path": path.path, "pathType": kind, "backend": backend})
    };
    let paths: Vec<Value> = PUBLIC_PATHS.iter().map(of).collect();
    // Without a Secret: the controller's default certificate.
    let mut tls = json!({"hosts": [edge.host]});
    if config.aip.certificate.is_some() {
        tls["secretName"] = SECRET_NAME.into();
    }
    let spec = json!({
        "ingressClassName": edge.class,
        "tls": [tls],
        "rules": [{"host": edge.host, "http": {"paths": paths}}],
    });
    let mut metadata = labelled_metadata(config, "aip");
    metadata.annotations = config.aip.get(&EDGE_ANNOTATIONS);
    let class = Requirement {
        object: ObjectRef::of::<IngressClass>(None, &edge.class),
        field: INGRESS_CLASS.path(),
        entry: None,
    };
    Kind::Ingress
        .object("aip", metadata, [("spec", spec)])
        .requiring(class)
}
