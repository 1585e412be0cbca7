//! The migration Job: one run per image and configuration, awaited before the Pods change.

use serde_json::{Value, json};

use super::Desired;
use super::common::{SecretSet, add_pull_secrets, metadata};
use super::kinds::Kind;
use super::names::NameKey;
use crate::config::StackConfig;
use crate::config::fields::{MIGRATION_ARGS, MIGRATION_TIMEOUT_SECONDS};

/// The Job that runs `pod`. Its name follows from the image and the environment: the same
/// migration is not run twice, and a new image gets its own.
pub(super) fn job(
    config: &StackConfig,
    names: &NameKey,
    secrets: &SecretSet,
    mut pod: Value,
) -> Desired {
    let args = config.aip.get(&MIGRATION_ARGS);
    let mut parts = vec![
        config.aip.image.as_str(),
        secrets.env.as_str(),
        secrets.extra_env.as_str(),
    ];
    parts.extend(args.iter().map(String::as_str));
    let name = names.address_of("aip-migrate", &parts);
    pod["restartPolicy"] = json!("Never");
    add_pull_secrets(&mut pod, &config.aip);
    let spec = json!({
        "backoffLimit": 1,
        "activeDeadlineSeconds": config.aip.get(&MIGRATION_TIMEOUT_SECONDS),
        // Not the Pods' own labels: the Services must not send requests here.
        "template": {"metadata": {"labels": {"app.kubernetes.io/name": "aip-migrate"}}, "spec": pod},
    });
    Kind::Job.object("aip-migrate", metadata(config, &name), [("spec", spec)])
}
