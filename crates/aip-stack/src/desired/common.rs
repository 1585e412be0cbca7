//! What the objects of both profiles share: labels, metadata, Secrets, Services.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::Desired;
use super::kinds::{Kind, ObjectMetadata};
use super::names::NameKey;
use crate::config::fields::{PORT, PULL_SECRETS};
use crate::config::{AipConfig, StackConfig};

/// The name of the Deployment, its container and everything that is not distinguished further.
pub(super) const APP_NAME: &str = "aip";

/// Port of the server's internal listener: metrics, and probes that no stranger can keep busy.
pub(super) const METRICS_PORT: (&str, u16) = ("metrics", 9090);

/// The labels that select the Pods. A Deployment's selector can never change: nothing is added.
const POD_LABELS: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/name"];

/// The label selector of the servers' Pods.
pub const SERVER_POD_SELECTOR: &str = "app.kubernetes.io/instance=aip,app.kubernetes.io/name=aip";

/// [`POD_LABELS`] as a JSON map.
pub(super) fn labels() -> Value {
    POD_LABELS
        .into_iter()
        .map(|label| (label.to_owned(), Value::from(APP_NAME)))
        .collect()
}

/// Name and namespace of an object that has no labels in the original.
pub(super) fn metadata(config: &StackConfig, name: &str) -> ObjectMetadata {
    ObjectMetadata {
        name: name.to_owned(),
        namespace: config.namespace.clone(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

/// Name, namespace and the labels of the Pods.
pub(super) fn labelled_metadata(config: &StackConfig, name: &str) -> ObjectMetadata {
    let labels = POD_LABELS.map(|label| (label.to_owned(), APP_NAME.to_owned()));
    ObjectMetadata {
        labels: labels.into(),
        ..metadata(config, name)
    }
}

/// A user without a name in any image: "restricted" wants a number that is not 0.
const RUN_AS_USER_ID: u32 = 10_001;

/// What Pod Security "restricted" wants of a Pod.
pub(super) fn pod_security_context() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": RUN_AS_USER_ID,
        "runAsGroup": RUN_AS_USER_ID,
        "fsGroup": RUN_AS_USER_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// What Pod Security "restricted" wants of a container, and a root that cannot be written to.
pub(super) fn container_security_context() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// Names the Secrets with registry credentials, if there are any.
pub(super) fn add_pull_secrets(pod: &mut Value, aip: &AipConfig) {
    let names = aip.get(&PULL_SECRETS);
    if !names.is_empty() {
        let references = names.iter().map(|name| json!({"name": name}));
        pod["imagePullSecrets"] = references.collect();
    }
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
    // The API server stores an empty map as none, and then takes it for a change of what may not
    // change.
    let data = (!data.is_empty()).then_some(("data", Value::from(data)));
    let fields = [("type", json!("Opaque")), ("immutable", json!(true))];
    Kind::Secret.object(
        logical,
        metadata(config, name),
        fields.into_iter().chain(data),
    )
}

/// Where the Pods listen inside the cluster, without an address of its own. `also` is a second
/// port, by its name and number.
pub(super) fn headless_service(config: &StackConfig, also: (&str, u16)) -> Desired {
    let (name, port) = also;
    let ports = json!([
        {"name": name, "port": port, "protocol": "TCP", "targetPort": name},
        {"name": "http", "port": config.aip.get(&PORT), "protocol": "TCP", "targetPort": "http"},
    ]);
    let spec = json!({"clusterIP": "None", "ports": ports, "selector": labels()});
    Kind::Service.object(
        "aip-headless",
        labelled_metadata(config, "aip-headless"),
        [("spec", spec)],
    )
}
