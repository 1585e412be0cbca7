//! Routes of the Gateway API (<https://gateway-api.sigs.k8s.io/reference/spec/#httproute>) at a
//! Gateway that exists already: the public paths at its HTTPS listener, and a redirect to them at the
//! one for plain HTTP.

use serde_json::{Value, json};

use super::public_paths::PUBLIC_PATHS;
use super::{PublicPath, SERVICE_NAME, SERVICE_PORT};
use crate::config::fields::{
    EDGE_ANNOTATIONS, GATEWAY_NAME, GATEWAY_NAMESPACE, GATEWAY_REDIRECT_SECTION, GATEWAY_SECTION,
};
use crate::config::{GatewayEdge, StackConfig};
use crate::desired::common::labelled_metadata;
use crate::desired::kinds::{GATEWAY_API, Kind};
use crate::desired::{Desired, ListEntry, ObjectRef, Requirement};

/// The most matches that a rule may have.
const MAX_MATCHES: usize = 64;

/// How long a gateway waits for an answer, which may have to wait for a PDS. Without a word about it,
/// some end requests after 15 seconds.
const ANSWER_TIMEOUT: &str = "180s";
/// No limit (GEP-1742): a blob takes as long as it takes, and AIP ends those that stand still.
const NO_TIMEOUT: &str = "0s";

/// Leads the public paths to the Pods. What no rule names is answered with 404 by the gateway.
pub(super) fn route(config: &StackConfig, edge: &GatewayEdge) -> Desired {
    let backend = json!([{"kind": "Service", "name": SERVICE_NAME, "port": SERVICE_PORT.1}]);
    let (streams, others): (Vec<&PublicPath>, Vec<&PublicPath>) =
        PUBLIC_PATHS.iter().partition(|path| path.streams);
    let mut rules: Vec<Value> = Vec::new();
    for (paths, timeout) in [(others, ANSWER_TIMEOUT), (streams, NO_TIMEOUT)] {
        // A rule without matches would lead to every path.
        for paths in paths.chunks(MAX_MATCHES) {
            rules.push(json!({
                "matches": matches(paths),
                "timeouts": {"request": timeout},
                "backendRefs": backend,
            }));
        }
    }
    let requirement = requirement(config, edge, &edge.section, GATEWAY_SECTION.path());
    object(config, edge, "aip", &edge.section, &rules).requiring(requirement)
}

/// Sends who comes over plain HTTP to HTTPS, if the stack names a listener for it.
pub(super) fn redirect(config: &StackConfig, edge: &GatewayEdge) -> Option<Desired> {
    let section = edge.redirect_section.as_ref()?;
    let to_https = json!({
        "type": "RequestRedirect",
        "requestRedirect": {"scheme": "https", "statusCode": 301},
    });
    let rules = [json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "filters": [to_https],
    })];
    let field = GATEWAY_REDIRECT_SECTION.path();
    let requirement = requirement(config, edge, section, field);
    Some(object(config, edge, "aip-redirect", section, &rules).requiring(requirement))
}

fn matches(paths: &[&PublicPath]) -> Vec<Value> {
    let of = |path: &&PublicPath| {
        let kind = if path.is_prefix {
            "PathPrefix"
        } else {
            "Exact"
        };
        json!({"path": {"type": kind, "value": path.path}})
    };
    paths.iter().map(of).collect()
}

fn object(
    config: &StackConfig,
    edge: &GatewayEdge,
    name: &str,
    section: &str,
    rules: &[Value],
) -> Desired {
    let spec = json!({
        "parentRefs": [{
            "group": GATEWAY_API.0,
            "kind": "Gateway",
            "namespace": namespace(config),
            "name": edge.gateway,
            "sectionName": section,
        }],
        "hostnames": [edge.host],
        "rules": rules,
    });
    let mut metadata = labelled_metadata(config, name);
    metadata.annotations = config.aip.get(&EDGE_ANNOTATIONS);
    Kind::HttpRoute.object(name, metadata, [("spec", spec)])
}

/// The Gateway's namespace; the stack's own if the file names none.
pub(super) fn namespace(config: &StackConfig) -> String {
    let named = config.aip.get(&GATEWAY_NAMESPACE);
    named.unwrap_or_else(|| config.namespace.clone())
}

fn requirement(
    config: &StackConfig,
    edge: &GatewayEdge,
    section: &str,
    field: &'static str,
) -> Requirement {
    let (group, version) = GATEWAY_API;
    Requirement {
        object: ObjectRef {
            api_version: format!("{group}/{version}"),
            kind: "Gateway".to_owned(),
            plural: "gateways".to_owned(),
            namespace: Some(namespace(config)),
            name: edge.gateway.clone(),
            logical_name: edge.gateway.clone(),
        },
        field: GATEWAY_NAME.path(),
        entry: Some(ListEntry {
            list: "/spec/listeners",
            element_kind: "listener",
            name: section.to_owned(),
            field,
        }),
    }
}
