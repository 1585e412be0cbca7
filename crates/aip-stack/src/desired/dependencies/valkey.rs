//! Valkey as a `StatefulSet` of one server, or of three with a Sentinel beside each. AIP works on without it, by the
//! database; with three that lasts for seconds when a node goes, and not until its Pod is elsewhere.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{claim_spec, requiring, sentinel, server_labels, server_metadata, storage_class};
use crate::config::fields::{VALKEY_IMAGE, VALKEY_MEMORY, VALKEY_STORAGE, VALKEY_STORAGE_CLASS};
use crate::config::{SENTINEL_PORT, StackConfig, VALKEY_NAME, VALKEY_PORT as PORT, Valkey};
use crate::desired::common::{
    add_pull_secrets, container_security_context, labels, pod_security_context,
};
use crate::desired::kinds::Kind;
use crate::desired::names::NameKey;
use crate::desired::{Desired, PROTECT_ANNOTATION};

const CONFIGURATION_DIR: &str = "/etc/valkey";
const CONFIGURATION_FILE: &str = "valkey.conf";
/// The password alone, for the script of three servers.
const PASSWORD_FILE: &str = "password";
/// How long a Pod of three must be ready before the next one is made anew: time for its Sentinel to find the others.
const SETTLED_AFTER_SECONDS: u32 = 10;
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
        network_policy(config, valkey),
        stateful_set(config, valkey, &secret),
        service(config, valkey),
    ]
}

/// What no argument may say: whoever may read Pods may read arguments.
fn configuration(valkey: &Valkey) -> BTreeMap<String, SecretString> {
    let password = valkey.password.expose_secret();
    let mut files = BTreeMap::new();
    // What a replica shows to the primary.
    let mut of_replicas = String::new();
    if valkey.has_sentinels() {
        of_replicas = format!("masterauth {password}\n");
        files.insert(PASSWORD_FILE.to_owned(), valkey.password.clone());
    }
    let text = format!("requirepass {password}\n{of_replicas}");
    files.insert(CONFIGURATION_FILE.to_owned(), SecretString::from(text));
    files
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
    let configuration =
        json!({"name": "configuration", "mountPath": CONFIGURATION_DIR, "readOnly": true});
    let mut container = json!({
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
            configuration,
            {"name": CLAIM, "mountPath": DATA_DIR},
        ],
    });
    let password_file = format!("{CONFIGURATION_DIR}/{PASSWORD_FILE}");
    if valkey.has_sentinels() {
        container["command"] = sentinel::command("server");
        container["env"] = sentinel::variables(valkey, &password_file);
    }
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
    if valkey.has_sentinels() {
        let beside = sentinel::container(aip, valkey, &password_file, &configuration);
        push(&mut pod["containers"], beside);
        push(&mut pod["volumes"], sentinel::volume());
        sentinel::place_apart(&mut pod, &json!(labels));
    }
    add_pull_secrets(&mut pod, aip);
    let mut spec = json!({
        "serviceName": VALKEY_NAME,
        "replicas": valkey.servers,
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
    if valkey.has_sentinels() {
        spec["minReadySeconds"] = SETTLED_AFTER_SECONDS.into();
    }
    let metadata = server_metadata(config, VALKEY_NAME, VALKEY_NAME);
    let set = Kind::StatefulSet.object(VALKEY_NAME, metadata, [("spec", spec)]);
    requiring(set, class)
}

fn push(list: &mut Value, value: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
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

/// A name for the one server, or for each of three. Those find each other by it before they are ready.
fn service(config: &StackConfig, valkey: &Valkey) -> Desired {
    let port = |name: &str, number: u16| json!({"name": name, "port": number, "protocol": "TCP", "targetPort": name});
    let mut ports = json!([port("valkey", PORT)]);
    if valkey.has_sentinels() {
        push(&mut ports, port("sentinel", SENTINEL_PORT));
    }
    let mut spec =
        json!({"clusterIP": "None", "ports": ports, "selector": server_labels(VALKEY_NAME)});
    if valkey.has_sentinels() {
        spec["publishNotReadyAddresses"] = true.into();
    }
    object(Kind::Service, config, spec)
}

/// A node is drained although the server on it is interrupted: one of three is not missed, and AIP works on without
/// any.
fn disruption_budget(config: &StackConfig) -> Desired {
    let spec = json!({
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": server_labels(VALKEY_NAME)},
    });
    object(Kind::PodDisruptionBudget, config, spec)
}

/// The Pods of AIP reach the server, and it reaches nobody. Three reach each other, and who tells them where.
fn network_policy(config: &StackConfig, valkey: &Valkey) -> Desired {
    let servers = json!({"podSelector": {"matchLabels": server_labels(VALKEY_NAME)}});
    let mut from = json!([{"podSelector": {"matchLabels": labels()}}]);
    let mut ports = json!([{"protocol": "TCP", "port": PORT}]);
    if valkey.has_sentinels() {
        push(&mut from, servers.clone());
        push(
            &mut ports,
            json!({"protocol": "TCP", "port": SENTINEL_PORT}),
        );
    }
    let mut spec = json!({
        "podSelector": {"matchLabels": server_labels(VALKEY_NAME)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": from, "ports": ports}],
    });
    if valkey.has_sentinels() {
        spec["egress"] = json!([
            {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
            {"to": [servers], "ports": ports},
        ]);
    }
    object(Kind::NetworkPolicy, config, spec)
}

fn object(kind: Kind, config: &StackConfig, spec: Value) -> Desired {
    let metadata = server_metadata(config, VALKEY_NAME, VALKEY_NAME);
    kind.object(VALKEY_NAME, metadata, [("spec", spec)])
}
