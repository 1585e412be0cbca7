//! The profile `restricted`: Pods that Pod Security "restricted" admits
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>), that roll without a
//! lost request, and that reach only what they need.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::Desired;
use super::common::{
    APP_NAME, METRICS_PORT, SecretSet, add_pull_secrets, container_security_context,
    headless_service, labelled_metadata, labels, pod_security_context,
};
use super::dependencies;
use super::edge;
use super::kinds::Kind;
use super::migration;
use super::names::NameKey;
use super::policies;
use crate::config::fields::{
    ALIVE_PATH, CPU_LIMIT, DRAIN_SECONDS, GRACE_SECONDS, JSON_WEB_KEYS, MEMORY_LIMIT,
    MIGRATION_ARGS, PORT, READY_PATH, REPLICAS, REQUESTED_CPU, REQUESTED_MEMORY, SERVER_ARGS,
    STARTUP_SECONDS, TRUSTED_PROXIES, WORKER_ID,
};
use crate::config::{AipConfig, KEY_FILE_PATH, MigrationMode, StackConfig};

/// What the internal listener serves besides metrics; other paths belong to the public one.
const INTERNAL_PATHS: &str = "/internal/";
/// The only folder besides `/tmp` that a container may write to; it goes with the Pod.
const DATA_DIR: &str = "/data";

pub(super) fn objects(config: &StackConfig, names: &NameKey) -> Vec<Desired> {
    let mut secrets = SecretSet::new(config, names, &required_env(&config.aip));
    let mut workload = Vec::new();
    if config.aip.migration_mode == MigrationMode::Job {
        let args = config.aip.get(&MIGRATION_ARGS);
        let container = container(config, &secrets, "migrate", &args);
        workload.push(migration::job(
            config,
            names,
            &secrets,
            pod(config, &secrets, &container),
        ));
    }
    workload.push(deployment(config, &secrets));
    workload.push(headless_service(config, METRICS_PORT));
    workload.extend(edge::objects(config));
    let mut objects = std::mem::take(&mut secrets.objects);
    objects.push(policies::service_account(config));
    objects.push(policies::disruption_budget(config));
    objects.extend(policies::network_policy(config));
    objects.extend(edge::certificate::objects(config));
    objects.extend(workload);
    objects.extend(policies::autoscaler(config));
    objects.extend(policies::pod_monitor(config));
    objects.extend(dependencies::objects(config, names));
    // A stable sort: within a phase the order stays.
    objects.sort_by_key(Desired::phase);
    objects
}

/// The key file is mounted as a folder (a `subPath` would never see a change), and the
/// environment says where.
fn required_env(aip: &AipConfig) -> BTreeMap<String, SecretString> {
    let mut env = aip.required_env.clone();
    env.insert(
        JSON_WEB_KEYS.name.to_owned(),
        SecretString::from(KEY_FILE_PATH),
    );
    env
}

fn deployment(config: &StackConfig, secrets: &SecretSet) -> Desired {
    let aip = &config.aip;
    let probe = |path: &str, period: u32, failures: u32| {
        let port = if path.starts_with(INTERNAL_PATHS) {
            METRICS_PORT.0
        } else {
            "http"
        };
        json!({
            "httpGet": {"path": path, "port": port},
            "periodSeconds": period,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        })
    };
    let mut server = container(config, secrets, APP_NAME, &aip.get(&SERVER_ARGS));
    server["ports"] = json!([
        {"name": "http", "containerPort": aip.get(&PORT), "protocol": "TCP"},
        {"name": METRICS_PORT.0, "containerPort": METRICS_PORT.1, "protocol": "TCP"},
    ]);
    let ready_path = aip.get(&READY_PATH);
    server["startupProbe"] = probe(&ready_path, 2, aip.get(&STARTUP_SECONDS).div_ceil(2).max(1));
    server["readinessProbe"] = probe(&ready_path, 3, 2);
    server["livenessProbe"] = probe(&aip.get(&ALIVE_PATH), 10, 6);
    // The load balancer needs this long to notice that the Pod goes.
    server["lifecycle"] = json!({"preStop": {"sleep": {"seconds": aip.get(&DRAIN_SECONDS)}}});

    let mut pod = pod(config, secrets, &server);
    pod["terminationGracePeriodSeconds"] = json!(aip.get(&GRACE_SECONDS));
    pod["topologySpreadConstraints"] = json!([{
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels()},
        "matchLabelKeys": ["pod-template-hash"],
    }]);
    if aip.migration_mode == MigrationMode::Init {
        pod["initContainers"] = json!([container(
            config,
            secrets,
            "aip-init-migrations",
            &aip.get(&MIGRATION_ARGS)
        )]);
    }
    let mut spec = json!({
        "selector": {"matchLabels": labels()},
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": 600,
        "minReadySeconds": 2,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "template": {"metadata": {"labels": labels()}, "spec": pod},
    });
    if !aip.is_autoscaled {
        spec["replicas"] = json!(aip.get(&REPLICAS));
    }
    Kind::Deployment.object(
        APP_NAME,
        labelled_metadata(config, APP_NAME),
        [("spec", spec)],
    )
}

fn container(config: &StackConfig, secrets: &SecretSet, name: &str, args: &[String]) -> Value {
    let aip = &config.aip;
    let mut env = vec![
        json!({"name": "HOME", "value": "/tmp"}),
        json!({"name": "HTTP_PORT", "value": aip.get(&PORT).to_string()}),
    ];
    let given = |name| aip.required_env.contains_key(name) || aip.extra_env.contains_key(name);
    if !given("AIP_DATA_DIR") {
        env.push(json!({"name": "AIP_DATA_DIR", "value": DATA_DIR}));
    }
    if !given("AIP_INTERNAL_LISTEN") {
        // On the Pod's own address alone: the admin API is there too. The kubelet expands the
        // reference, as it stands behind the variable it names.
        env.push(
            json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
        );
        let listen = format!("$(POD_IP):{}", METRICS_PORT.1);
        env.push(json!({"name": "AIP_INTERNAL_LISTEN", "value": listen}));
    }
    let networks = aip.get(&TRUSTED_PROXIES).join(",");
    if !networks.is_empty() && !given("AIP_TRUSTED_PROXIES") {
        env.push(json!({"name": "AIP_TRUSTED_PROXIES", "value": networks}));
    }
    if !given(WORKER_ID.name) {
        env.push(
            json!({"name": "WORKER_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        );
    }
    env.extend(dependencies::variables(aip));
    let mut mounts = vec![
        json!({"name": "keys", "mountPath": "/etc/aip/keys", "readOnly": true}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
        json!({"name": "data", "mountPath": DATA_DIR}),
    ];
    mounts.extend(dependencies::mount(aip));
    json!({
        "name": name,
        "image": aip.image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": env,
        "envFrom": secrets.env_from(),
        "resources": {
            "requests": {"cpu": aip.get(&REQUESTED_CPU), "memory": aip.get(&REQUESTED_MEMORY)},
            "limits": {"cpu": aip.get(&CPU_LIMIT), "memory": aip.get(&MEMORY_LIMIT)},
        },
        "securityContext": container_security_context(),
        "volumeMounts": mounts,
    })
}

fn pod(config: &StackConfig, secrets: &SecretSet, container: &Value) -> Value {
    let mut volumes = vec![
        // Readable by the Pod's group, and by nobody else in the container.
        json!({"name": "keys", "secret": {"secretName": secrets.signing_keys, "defaultMode": 0o440}}),
        json!({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}),
        json!({"name": "data", "emptyDir": {}}),
    ];
    volumes.extend(dependencies::volume(&config.aip));
    let mut pod = json!({
        "serviceAccountName": APP_NAME,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": pod_security_context(),
        "containers": [container],
        "volumes": volumes,
    });
    add_pull_secrets(&mut pod, &config.aip);
    pod
}
