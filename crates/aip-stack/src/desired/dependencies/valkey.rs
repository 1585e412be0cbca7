//! Valkey as a `StatefulSet` of one server. AIP works on without it, by the database, so one is enough: what a
//! second one and Sentinels would add is less than what they would cost.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{claim_spec, requiring, server_labels, server_metadata, storage_class};
use crate::config::fields::{VALKEY_IMAGE, VALKEY_MEMORY, VALKEY_STORAGE, VALKEY_STORAGE_CLASS};
use crate::config::{StackConfig, VALKEY_NAME, Valkey};
use crate::desired::common::{
    add_pull_secrets, container_security_context, labels, pod_security_context,
};
use crate::desired::kinds::Kind;
use crate::desired::names::NameKey;
use crate::desired::{Desired, PROTECT_ANNOTATION};

const PORT: u16 = 6379;
const CONFIGURATION_DIR: &str = "/etc/valkey";
const CONFIGURATION_FILE: &str = "valkey.conf";
const DATA_DIR: &str = "/data";
/// The name of the claim in the template; that of the claim itself is `data-aip-valkey-0`.
const CLAIM: &str = "data";

pub(super) fn objects(config: &StackConfig, names: &NameKey) -> Vec<Desired> {
    let Some(valkey) = &config.aip.valkey else {
        return Vec::new();
    };
    let content = configuration(valkey);
    let secret = names.address(VALKEY_NAME, &content);
    vec![
        configuration_secret(config, &secret, &content),
        disruption_budget(config),
        network_policy(config),
        stateful_set(config, valkey, &secret),
        service(config),
    ]
}

/// What no argument may say: whoever may read Pods may read arguments.
fn configuration(valkey: &Valkey) -> BTreeMap<String, SecretString> {
    let text = format!("requirepass {}\n", valkey.password.expose_secret());
    BTreeMap::from([(CONFIGURATION_FILE.to_owned(), SecretString::from(text))])
}

fn configuration_secret(
    config: &StackConfig,
    name: &str,
    content: &BTreeMap<String, SecretString>,
) -> Desired {
    let data: BTreeMap<&String, String> = content
        .iter()
        .map(|(file, text)| (file, STANDARD.encode(text.expose_secret())))
        .collect();
    let metadata = server_metadata(config, name, VALKEY_NAME);
    let fields = [
        ("type", json!("Opaque")),
        ("immutable", json!(true)),
        ("data", json!(data)),
    ];
    Kind::Secret.object(VALKEY_NAME, metadata, fields)
}

fn stateful_set(config: &StackConfig, valkey: &Valkey, secret: &str) -> Desired {
    let aip = &config.aip;
    let labels = server_labels(VALKEY_NAME);
    let memory = aip.get(&VALKEY_MEMORY);
    let class = storage_class(aip, &VALKEY_STORAGE_CLASS);
    let probe = |period: u32, failures: u32| {
        json!({
            "tcpSocket": {"port": "valkey"},
            "periodSeconds": period,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        })
    };
    let container = json!({
        "name": "valkey",
        "image": aip.get(&VALKEY_IMAGE),
        "imagePullPolicy": "IfNotPresent",
        "command": ["valkey-server"],
        "args": arguments(valkey),
        "ports": [{"name": "valkey", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": probe(2, 60),
        "readinessProbe": probe(3, 2),
        "livenessProbe": probe(10, 6),
        "resources": {
            "requests": {"cpu": "50m", "memory": memory},
            "limits": {"memory": memory},
        },
        "securityContext": container_security_context(),
        "volumeMounts": [
            {"name": "configuration", "mountPath": CONFIGURATION_DIR, "readOnly": true},
            {"name": CLAIM, "mountPath": DATA_DIR},
        ],
    });
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security_context(),
        "containers": [container],
        "volumes": [{
            "name": "configuration",
            "secret": {"secretName": secret, "defaultMode": 0o440},
        }],
    });
    add_pull_secrets(&mut pod, aip);
    let spec = json!({
        "serviceName": VALKEY_NAME,
        "replicas": 1,
        // In order, a Pod that was never ready is not replaced by one that could be: kubernetes/kubernetes#67250.
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        // The claim has the mark, and not the StatefulSet: that can be made anew, the data cannot.
        "volumeClaimTemplates": [{
            "metadata": {"name": CLAIM, "annotations": {PROTECT_ANNOTATION: "true"}},
            "spec": claim_spec(&aip.get(&VALKEY_STORAGE), class.as_ref()),
        }],
    });
    let metadata = server_metadata(config, VALKEY_NAME, VALKEY_NAME);
    let set = Kind::StatefulSet.object(VALKEY_NAME, metadata, [("spec", spec)]);
    requiring(set, class)
}

/// The file has the password, the arguments the rest. Keys have a time to live: when the memory is full, those
/// that end soonest go first.
fn arguments(valkey: &Valkey) -> Vec<String> {
    let port = PORT.to_string();
    let file = format!("{CONFIGURATION_DIR}/{CONFIGURATION_FILE}");
    let most = valkey.max_memory_bytes.to_string();
    let arguments = [
        file.as_str(),
        "--bind",
        "0.0.0.0",
        "-::",
        "--port",
        &port,
        "--dir",
        DATA_DIR,
        "--save",
        "",
        "--appendonly",
        "yes",
        "--maxmemory",
        &most,
        "--maxmemory-policy",
        "volatile-ttl",
    ];
    arguments.map(str::to_owned).into()
}

/// A name for the one server.
fn service(config: &StackConfig) -> Desired {
    let ports =
        json!([{"name": "valkey", "port": PORT, "protocol": "TCP", "targetPort": "valkey"}]);
    let spec = json!({"clusterIP": "None", "ports": ports, "selector": server_labels(VALKEY_NAME)});
    object(Kind::Service, config, spec)
}

/// A node is drained although the one server on it is interrupted: AIP works on without it.
fn disruption_budget(config: &StackConfig) -> Desired {
    let spec = json!({
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": server_labels(VALKEY_NAME)},
    });
    object(Kind::PodDisruptionBudget, config, spec)
}

/// The Pods of AIP reach the server, and it reaches nobody.
fn network_policy(config: &StackConfig) -> Desired {
    let spec = json!({
        "podSelector": {"matchLabels": server_labels(VALKEY_NAME)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{
            "from": [{"podSelector": {"matchLabels": labels()}}],
            "ports": [{"protocol": "TCP", "port": PORT}],
        }],
    });
    object(Kind::NetworkPolicy, config, spec)
}

fn object(kind: Kind, config: &StackConfig, spec: Value) -> Desired {
    let metadata = server_metadata(config, VALKEY_NAME, VALKEY_NAME);
    kind.object(VALKEY_NAME, metadata, [("spec", spec)])
}
