//! From a configuration to its objects: a pure function, the same objects in the same order every
//! time.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::names::NameKey;
use super::{Desired, compat, restricted};
use crate::config::{Profile, StackConfig};

/// The name of the Deployment, its container and everything that is not told apart further.
pub(super) const APP_NAME: &str = "aip";

/// The objects of a stack.
pub fn objects(config: &StackConfig, names: &NameKey) -> Vec<Desired> {
    match config.aip.profile {
        Profile::Compat => compat::objects(config, names),
        Profile::Restricted => restricted::objects(config, names),
    }
}

/// The labels that select the Pods. A Deployment's selector can never change: nothing is added.
pub(super) fn labels() -> Value {
    json!({"app.kubernetes.io/instance": APP_NAME, "app.kubernetes.io/name": APP_NAME})
}

/// Name, namespace and, where the original had them, labels.
pub(super) fn metadata(config: &StackConfig, name: &str, labelled: bool) -> Value {
    let mut metadata = json!({"name": name, "namespace": config.namespace});
    if labelled {
        metadata["labels"] = labels();
    }
    metadata
}

/// The Secrets of a stack, and their names.
pub(super) struct SecretSet {
    pub(super) objects: Vec<Desired>,
    pub(super) env: String,
    pub(super) extra_env: String,
    pub(super) signing_keys: String,
}

impl SecretSet {
    /// The three Secrets, named after their content and never changed in place.
    pub(super) fn new(
        config: &StackConfig,
        names: &NameKey,
        required_env: &BTreeMap<String, SecretString>,
    ) -> Self {
        let aip = &config.aip;
        let keys = BTreeMap::from([("signing_keys.json".to_owned(), aip.signing_keys.clone())]);
        let mut objects = Vec::new();
        let mut add = |what: &str, content: &BTreeMap<String, SecretString>| {
            let logical = format!("aip-{what}-{}", config.stack);
            let name = names.address(&logical, content);
            objects.push(secret(config, &logical, &name, content));
            name
        };
        let env = add("env", required_env);
        let extra_env = add("extra-env", &aip.extra_env);
        let signing_keys = add("signing-keys-json", &keys);
        Self {
            objects,
            env,
            extra_env,
            signing_keys,
        }
    }

    /// `envFrom` of a container: the required environment, then what else there is.
    pub(super) fn env_from(&self) -> Value {
        json!([{"secretRef": {"name": self.env}}, {"secretRef": {"name": self.extra_env}}])
    }
}

fn secret(
    config: &StackConfig,
    logical: &str,
    name: &str,
    content: &BTreeMap<String, SecretString>,
) -> Desired {
    // `data` and not `stringData`: the API server turns the latter into the former, and then a
    // server-side apply owns fields that are not there.
    let data: Map<String, Value> = content
        .iter()
        .map(|(key, value)| {
            (
                key.clone(),
                Value::from(STANDARD.encode(value.expose_secret())),
            )
        })
        .collect();
    let mut body = json!({"type": "Opaque", "immutable": true});
    // The API server stores an empty map as none, and then takes it for a change of what may not
    // change.
    if !data.is_empty() {
        body["data"] = Value::from(data);
    }
    Kind::Secret.object(logical, metadata(config, name, false), body)
}

/// Where the Pods listen inside the cluster, without an address of its own. `also` is a second
/// port, by its name and number.
pub(super) fn headless_service(config: &StackConfig, also: (&str, u16)) -> Desired {
    let (name, port) = also;
    let ports = json!([
        {"name": name, "port": port, "protocol": "TCP", "targetPort": name},
        {"name": "http", "port": config.aip.port, "protocol": "TCP", "targetPort": "http"},
    ]);
    let body = json!({"spec": {"clusterIP": "None", "ports": ports, "selector": labels()}});
    Kind::Service.object("aip-headless", metadata(config, "aip-headless", true), body)
}

/// The way in from outside, if there is one.
pub(super) fn ingress_service(config: &StackConfig) -> Option<Desired> {
    const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer";
    let balancer = config.aip.service.load_balancer.as_ref()?;
    let restricted = config.aip.profile == Profile::Restricted;
    let mut annotations = BTreeMap::from([
        (
            format!("{PREFIX}-ssl-cert"),
            balancer.certificate_arn.clone(),
        ),
        (format!("{PREFIX}-ssl-ports"), "https".to_owned()),
    ]);
    let mut also =
        |name: &str, value: &str| annotations.insert(format!("{PREFIX}-{name}"), value.to_owned());
    if balancer.controller {
        also("type", "external");
        also("nlb-target-type", "ip");
        also(
            "scheme",
            if balancer.internal {
                "internal"
            } else {
                "internet-facing"
            },
        );
        also("healthcheck-protocol", "http");
        also("healthcheck-path", &config.aip.probes.ready_path);
        // Otherwise all callers have the load balancer's address; it writes no header that tells.
        also("target-group-attributes", "preserve_client_ip.enabled=true");
    } else {
        also("type", "nlb");
    }
    annotations.extend(balancer.annotations.clone());
    let mut metadata = metadata(config, "aip-ingress", true);
    metadata["annotations"] = json!(annotations);
    let mut ports = Vec::new();
    if balancer.plain_http {
        ports.push(json!({"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}));
    }
    ports.push(json!({"name": "https", "port": 443, "protocol": "TCP", "targetPort": "http"}));
    let mut spec = json!({"type": "LoadBalancer", "ports": ports, "selector": labels()});
    if let Some(class) = &balancer.class {
        spec["loadBalancerClass"] = json!(class);
    }
    if restricted {
        // A node that forwards to another one would put its own address in the caller's place.
        spec["externalTrafficPolicy"] = json!("Local");
    }
    Some(Kind::Service.object("aip-ingress", metadata, json!({"spec": spec})))
}
