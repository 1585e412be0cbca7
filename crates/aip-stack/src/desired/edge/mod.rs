//! The way in from outside: a load balancer that leads to every path, or a gateway or ingress that
//! leads to the public ones alone.

pub(super) mod certificate;
mod gateway;
mod ingress;
mod load_balancer;
mod public_paths;

use serde_json::json;

use super::Desired;
use super::common::{labelled_metadata, labels};
use super::kinds::Kind;
use crate::config::{Exposure, StackConfig};

/// The Service that gateways and ingress controllers lead to. `aip-headless` has no address of its
/// own, which some of them need. It is not called `aip`: in Pods with service links that would make
/// the variable `AIP_PORT`.
const SERVICE_NAME: &str = "aip-edge";
/// Its port, by name and number.
const SERVICE_PORT: (&str, u16) = ("http", 80);

/// A path that may be reached from outside.
struct PublicPath {
    path: &'static str,
    /// Whether everything below the path is meant, and not the path itself alone.
    is_prefix: bool,
    /// Whether bodies of any length pass through, for as long as they take.
    streams: bool,
}

impl PublicPath {
    const fn exact(path: &'static str) -> Self {
        Self {
            path,
            is_prefix: false,
            streams: false,
        }
    }

    const fn below(path: &'static str) -> Self {
        Self {
            path,
            is_prefix: true,
            streams: false,
        }
    }

    const fn streams_below(path: &'static str) -> Self {
        Self {
            path,
            is_prefix: true,
            streams: true,
        }
    }
}

/// The objects of the stack's edge; none if the stack is reached inside the cluster only.
pub(super) fn objects(config: &StackConfig) -> Vec<Desired> {
    match &config.aip.exposure {
        Exposure::ClusterIp => Vec::new(),
        Exposure::LoadBalancer(balancer) => vec![load_balancer::service(config, balancer)],
        Exposure::Gateway(edge) => {
            let mut objects = vec![service(config), gateway::route(config, edge)];
            objects.extend(gateway::redirect(config, edge));
            objects
        }
        Exposure::Ingress(edge) => vec![service(config), ingress::ingress(config, edge)],
    }
}

fn service(config: &StackConfig) -> Desired {
    let (name, port) = SERVICE_PORT;
    let ports = json!([{"name": name, "port": port, "protocol": "TCP", "targetPort": "http"}]);
    let spec = json!({"type": "ClusterIP", "ports": ports, "selector": labels()});
    Kind::Service.object(
        SERVICE_NAME,
        labelled_metadata(config, SERVICE_NAME),
        [("spec", spec)],
    )
}
