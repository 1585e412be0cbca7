//! The migration Job: one run per image and configuration, awaited before the Pods change.

use serde_json::{Value, json};

use super::Desired;
use super::kinds::Kind;
use super::names::NameKey;
use super::objects::{SecretSet, metadata};
use crate::config::StackConfig;

/// The Job that runs `pod`. Its name follows from the image and the environment: the same
/// migration is not run twice, and a new image gets its own.
pub(super) fn job(
    config: &StackConfig,
    names: &NameKey,
    secrets: &SecretSet,
    mut pod: Value,
) -> Desired {
    let migrations = &config.aip.migrations;
    let mut parts = vec![
        config.aip.image.as_str(),
        secrets.env.as_str(),
        secrets.extra_env.as_str(),
    ];
    parts.extend(migrations.args.iter().map(String::as_str));
    let name = names.address_of("aip-migrate", &parts);
    pod["restartPolicy"] = json!("Never");
    if !config.aip.pull_secrets.is_empty() {
        let references = config
            .aip
            .pull_secrets
            .iter()
            .map(|name| json!({"name": name}));
        pod["imagePullSecrets"] = references.collect();
    }
    let body = json!({"spec": {
        "backoffLimit": 1,
        "activeDeadlineSeconds": migrations.timeout_seconds,
        // Not the Pods' own labels: the Services must not send requests here.
        "template": {"metadata": {"labels": {"app.kubernetes.io/name": "aip-migrate"}}, "spec": pod},
    }});
    Kind::Job.object("aip-migrate", metadata(config, &name, false), body)
}
