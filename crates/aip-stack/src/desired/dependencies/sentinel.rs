//! What three Valkey servers have and one has not: a Sentinel beside each, which names the primary to AIP and has
//! another one elected when it is gone (<https://valkey.io/topics/sentinel/>). Servers and Sentinels know each other
//! by the names that the headless Service gives to the Pods; a Pod that starts asks the Sentinels for the primary,
//! so that nothing but the data outlives it.

use serde_json::{Value, json};

use crate::config::fields::VALKEY_IMAGE;
use crate::config::{AipConfig, SENTINEL_PORT, VALKEY_NAME, Valkey};
use crate::desired::common::container_security_context;

/// What both containers run.
const SCRIPT: &str = include_str!("valkey_of_three.sh");
/// Where the Sentinel keeps its configuration, with the password.
const SENTINEL_DIR: &str = "/run/sentinel";
const STATE: &str = "sentinel";

/// The command of a container, before the arguments of its program.
pub(super) fn command(role: &str) -> Value {
    json!(["sh", "-c", SCRIPT, "valkey", role])
}

/// Who the container is, and who the others are.
pub(super) fn variables(valkey: &Valkey, password_file: &str) -> Value {
    let name = json!({"fieldRef": {"fieldPath": "metadata.name"}});
    json!([
        {"name": "POD_NAME", "valueFrom": name},
        {"name": "SERVER_NAME", "value": format!("$(POD_NAME).{VALKEY_NAME}")},
        {"name": "SERVERS", "value": valkey.hosts().join(" ")},
        {"name": "PASSWORD_FILE", "value": password_file},
    ])
}

/// The Sentinel of a Pod.
pub(super) fn container(
    aip: &AipConfig,
    valkey: &Valkey,
    password_file: &str,
    configuration: &Value,
) -> Value {
    let port = SENTINEL_PORT.to_string();
    let mut variables = variables(valkey, password_file);
    if let Some(variables) = variables.as_array_mut() {
        let file = format!("{SENTINEL_DIR}/sentinel.conf");
        variables.push(json!({"name": "SENTINEL_FILE", "value": file}));
    }
    let probe = |period: u32, failures: u32| {
        json!({
            "tcpSocket": {"port": STATE},
            "periodSeconds": period,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": "sentinel",
        "image": aip.get(&VALKEY_IMAGE),
        "imagePullPolicy": "IfNotPresent",
        "command": command("sentinel"),
        "args": ["--bind", "0.0.0.0", "-::", "--port", port],
        "env": variables,
        "ports": [{"name": STATE, "containerPort": SENTINEL_PORT, "protocol": "TCP"}],
        "startupProbe": probe(2, 60),
        "readinessProbe": probe(3, 2),
        "livenessProbe": probe(10, 6),
        "resources": {
            "requests": {"cpu": "20m", "memory": "64Mi"},
            "limits": {"memory": "64Mi"},
        },
        "securityContext": container_security_context(),
        "volumeMounts": [configuration, {"name": STATE, "mountPath": SENTINEL_DIR}],
    })
}

/// The volume of its configuration. In memory: it holds the password.
pub(super) fn volume() -> Value {
    json!({"name": STATE, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
}

/// The servers are to be on different nodes, and in different zones, where there are some.
pub(super) fn place_apart(pod: &mut Value, labels: &Value) {
    let selector = json!({"matchLabels": labels});
    pod["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector},
    }]}});
    pod["topologySpreadConstraints"] = json!([{
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }]);
}
