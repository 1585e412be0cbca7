//! The profile `compat`: the objects of the original program, field for field, so that taking over
//! a live stack changes nothing but the names of its Secrets.

use serde_json::json;

use super::Desired;
use super::common::{APP_NAME, SecretSet, add_pull_secrets, headless_service, labels, metadata};
use super::edge;
use super::kinds::Kind;
use super::migration;
use super::names::NameKey;
use crate::config::fields::{
    CPU_LIMIT, MEMORY_LIMIT, MIGRATION_ARGS, PORT, READY_PATH, REPLICAS, REQUESTED_CPU,
    REQUESTED_MEMORY, SERVER_ARGS,
};
use crate::config::{MigrationMode, StackConfig};

/// A port of the original objects that nobody listens on. It stays, so that taking over a live
/// stack changes nothing; the profile `restricted` has it no more.
const UNUSED_PORT: (&str, u16) = ("http-alt", 5100);

pub(super) fn objects(config: &StackConfig, names: &NameKey) -> Vec<Desired> {
    let mut secrets = SecretSet::new(config, names, &config.aip.required_env);
    let deployment = deployment(config, &secrets);
    let mut objects = std::mem::take(&mut secrets.objects);
    objects.extend(edge::certificate::objects(config));
    if config.aip.migration_mode == MigrationMode::Job {
        let pod = json!({
            "containers": [{
                "name": "migrate",
                "image": config.aip.image,
                "args": config.aip.get(&MIGRATION_ARGS),
                "envFrom": secrets.env_from(),
            }],
        });
        objects.push(migration::job(config, names, &secrets, pod));
    }
    objects.push(deployment);
    objects.push(headless_service(config, UNUSED_PORT));
    objects.extend(edge::objects(config));
    objects
}

fn deployment(config: &StackConfig, secrets: &SecretSet) -> Desired {
    let aip = &config.aip;
    let mut pod = json!({
        "containers": [{
            "name": APP_NAME,
            "image": aip.image,
            "imagePullPolicy": "Always",
            "args": aip.get(&SERVER_ARGS),
            "envFrom": secrets.env_from(),
            // The original server reads its keys from the working directory.
            "lifecycle": {"postStart": {"exec": {"command": [
                "/bin/sh", "-c", "cp /etc/signing_keys.json /app/signing_keys.json",
            ]}}},
            "ports": [
                {"name": "http", "containerPort": aip.get(&PORT), "protocol": "TCP"},
                {"name": UNUSED_PORT.0, "containerPort": UNUSED_PORT.1, "protocol": "TCP"},
            ],
            "readinessProbe": {
                "httpGet": {"path": aip.get(&READY_PATH), "port": "http", "scheme": "HTTP"},
                "initialDelaySeconds": 5,
                "periodSeconds": 3,
                "timeoutSeconds": 1,
                "successThreshold": 1,
                "failureThreshold": 3,
            },
            "resources": {
                "requests": {"cpu": aip.get(&REQUESTED_CPU), "memory": aip.get(&REQUESTED_MEMORY)},
                "limits": {"cpu": aip.get(&CPU_LIMIT), "memory": aip.get(&MEMORY_LIMIT)},
            },
            "volumeMounts": [{
                "name": "signing-keys-json",
                "mountPath": "/etc/signing_keys.json",
                "subPath": "signing_keys.json",
                "readOnly": true,
            }],
        }],
        "volumes": [{"name": "signing-keys-json", "secret": {"secretName": secrets.signing_keys}}],
    });
    if aip.migration_mode == MigrationMode::Init {
        pod["initContainers"] = json!([{
            "name": "aip-init-migrations",
            "image": aip.image,
            "imagePullPolicy": "IfNotPresent",
            "args": aip.get(&MIGRATION_ARGS),
            "envFrom": secrets.env_from(),
        }]);
    }
    add_pull_secrets(&mut pod, aip);
    let mut spec = json!({
        "selector": {"matchLabels": labels()},
        "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {"metadata": {"labels": labels()}, "spec": pod},
    });
    // An autoscaler owns the number of Pods; sending it too would fight.
    if !aip.is_autoscaled {
        spec["replicas"] = json!(aip.get(&REPLICAS));
    }
    Kind::Deployment.object(APP_NAME, metadata(config, APP_NAME), [("spec", spec)])
}
