//! An AWS network load balancer, by the annotations of a Service. It works on connections, so it
//! cannot tell one path from another: whoever reaches it reaches every path of the public listener.

use std::collections::BTreeMap;

use serde_json::json;

use crate::config::fields::{
    ANNOTATIONS, ANNOTATIONS_STYLE, INTERNAL, PLAIN_HTTP, PROFILE, READY_PATH,
};
use crate::config::{AnnotationsStyle, LoadBalancer, Profile, StackConfig};
use crate::desired::Desired;
use crate::desired::common::{labelled_metadata, labels};
use crate::desired::kinds::Kind;

pub(super) fn service(config: &StackConfig, balancer: &LoadBalancer) -> Desired {
    const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer";
    let aip = &config.aip;
    let mut annotations = BTreeMap::from([
        (
            format!("{PREFIX}-ssl-cert"),
            balancer.certificate_arn.clone(),
        ),
        (format!("{PREFIX}-ssl-ports"), "https".to_owned()),
    ]);
    let mut also =
        |name: &str, value: &str| annotations.insert(format!("{PREFIX}-{name}"), value.to_owned());
    if aip.get(&ANNOTATIONS_STYLE) == AnnotationsStyle::Controller {
        also("type", "external");
        also("nlb-target-type", "ip");
        also(
            "scheme",
            if aip.get(&INTERNAL) {
                "internal"
            } else {
                "internet-facing"
            },
        );
        also("healthcheck-protocol", "http");
        also("healthcheck-path", &aip.get(&READY_PATH));
        // Otherwise all callers have the load balancer's address; it writes no header that tells.
        also("target-group-attributes", "preserve_client_ip.enabled=true");
    } else {
        also("type", "nlb");
    }
    annotations.extend(aip.get(&ANNOTATIONS));
    let mut metadata = labelled_metadata(config, "aip-ingress");
    metadata.annotations = annotations;
    let mut ports = Vec::new();
    if aip.get(&PLAIN_HTTP) {
        ports.push(json!({"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}));
    }
    ports.push(json!({"name": "https", "port": 443, "protocol": "TCP", "targetPort": "http"}));
    let mut spec = json!({"type": "LoadBalancer", "ports": ports, "selector": labels()});
    if let Some(class) = &balancer.class {
        spec["loadBalancerClass"] = json!(class);
    }
    if aip.get(&PROFILE) == Profile::Restricted {
        // A node that forwards to another one would put its own address in the caller's place.
        spec["externalTrafficPolicy"] = json!("Local");
    }
    Kind::Service.object("aip-ingress", metadata, [("spec", spec)])
}
