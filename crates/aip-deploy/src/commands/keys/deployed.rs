//! The keys that were deployed: by the history, and by the Secret that the Pods have.

use std::time::Duration;

use aip_apply::cluster::GuardedCluster;
use aip_apply::plan::Deleting;
use aip_apply::plan::references::secrets_of_pod;
use aip_apply::store::{HISTORY_LIMIT, Outcome, RevisionRecord};
use aip_base::Timestamp;
use aip_stack::Target;
use aip_stack::desired::{Desired, ObjectRef, SERVER_POD_SELECTOR, is_content_address};
use aip_stack::signing_keys::Deployed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pulumi_files::StackFile;
use serde_json::Value;

use super::KeysError;
use crate::commands::failure::CommandError;
use crate::context::{Context, Stack};

/// The deployments that succeeded since the stack was last destroyed, as far back as their keys can be read.
pub(super) struct History<K> {
    pub(super) deployed: Deployed<K>,
    /// The last one.
    pub(super) last: Option<RevisionRecord>,
}

impl<K> History<K> {
    /// `read` takes the keys out of a stack file.
    pub(super) async fn of(
        ctx: &Context,
        stack: &Stack,
        read: impl AsyncFn(&StackFile) -> Result<K, KeysError>,
    ) -> Result<Self, KeysError> {
        let mut history = Self {
            deployed: Deployed::default(),
            last: None,
        };
        let records = stack.state(ctx)?.history(HISTORY_LIMIT).await?;
        let records = records.into_iter().map(|(_, record)| record);
        // What was deployed before is gone: no Pods have it, and nobody asked for it to come back.
        let present = records.take_while(|record| !is_destroyed_by(record));
        for record in present.filter(RevisionRecord::is_good) {
            // What cannot be read any more does not vouch for a key.
            let (Ok(file), Some(ended)) = (revision_file(stack, &record), ended_at(&record)) else {
                break;
            };
            let Ok(keys) = read(&file).await else {
                break;
            };
            history.deployed.0.push((ended, keys));
            history.last.get_or_insert(record);
        }
        Ok(history)
    }
}

fn is_destroyed_by(record: &RevisionRecord) -> bool {
    record.command == "destroy" && record.outcome == Outcome::Succeeded
}

fn ended_at(record: &RevisionRecord) -> Option<Timestamp> {
    let ended = record.ended.parse::<jiff::Timestamp>().ok()?;
    Some(Timestamp::from_micros(ended.as_microsecond()))
}

/// The stack file of a revision.
pub(super) fn revision_file(
    stack: &Stack,
    record: &RevisionRecord,
) -> Result<StackFile, KeysError> {
    let path = stack.project.stack_file(&stack.name);
    let text = record.stack_file.clone();
    Ok(StackFile::parse(&path, text, &stack.project.name)?)
}

/// A value that the Pods have from a Secret: the Secret, and the value; none if they have none. `key` is its
/// name in the Secret. Without a Deployment there are no Pods.
pub(super) async fn read_live_value(
    cluster: &GuardedCluster,
    target: &Target,
    key: &str,
) -> Result<Option<(ObjectRef, String)>, KeysError> {
    let mut desired = target.desired.iter();
    let deployment = desired
        .clone()
        .find(|one| one.object().kind == "Deployment");
    let secret = desired.find(|one| one.manifest()["data"].get(key).is_some());
    let (Some(deployment), Some(secret)) = (deployment, secret.map(Desired::object)) else {
        return Ok(None);
    };
    let deployment = read(cluster, deployment.object()).await?;
    let deployment = deployment.filter(|live| Deleting::of(live).is_none());
    let deployment = deployment.ok_or(KeysError::NothingDeployed)?;
    let names = secrets_of_pod(&deployment["spec"]["template"]["spec"]);
    let Some(name) = names.into_iter().find(|name| is_version(secret, name)) else {
        return Ok(None);
    };
    let secret = ObjectRef {
        name,
        ..secret.clone()
    };
    let Some(live) = read(cluster, &secret).await? else {
        return Ok(None);
    };
    let bytes = live["data"][key].as_str().map(|text| STANDARD.decode(text));
    let text = bytes
        .and_then(Result::ok)
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match text {
        Some(text) => Ok(Some((secret, text))),
        None => Err(KeysError::Live {
            secret: secret.to_string(),
            reason: format!("`{key}` is missing or no text"),
        }),
    }
}

/// Whether a name is one of a Secret whose name follows from its content. The Secrets of another stack, whose
/// name begins with the name of this one, have a hyphen more.
fn is_version(secret: &ObjectRef, name: &str) -> bool {
    let hash = name.strip_prefix(&secret.logical_name);
    let hash = hash.and_then(|hash| hash.strip_prefix('-'));
    hash.is_some_and(|hash| !hash.contains('-'))
}

/// The version of a Secret that a Pod has and that is not one of those `allowed`; none if there is no such
/// version, or if the Pod has ended. A server must have one that is allowed. The Pods of others may have
/// Secrets of others, whose names begin likewise.
pub(super) fn other_version(
    pod: &Value,
    secret: &ObjectRef,
    allowed: &[&ObjectRef],
) -> Option<String> {
    let phase = &pod["status"]["phase"];
    if phase == "Succeeded" || phase == "Failed" {
        return None;
    }
    let names = secrets_of_pod(&pod["spec"]);
    let is_allowed = |name: &String| allowed.iter().any(|one| one.name == *name);
    let has_none = !names.iter().any(is_allowed);
    let mut others = names.into_iter().filter(|name| !is_allowed(name));
    let is_server = is_server(pod);
    let other = others.find(|name| {
        is_version(secret, name) && (is_server || is_content_address(&secret.logical_name, name))
    });
    let lacks_it = has_none && is_server;
    other.or_else(|| lacks_it.then(|| "no Secret of the stack".to_owned()))
}

/// How long a Pod that is being deleted may take to stop (`metadata.deletionGracePeriodSeconds`); none for a Pod
/// that is not.
pub(super) fn stopping_time(pod: &Value) -> Option<Duration> {
    Deleting::of(pod)?;
    let seconds = pod["metadata"]["deletionGracePeriodSeconds"].as_u64();
    Some(Duration::from_secs(seconds.unwrap_or_default()))
}

/// Whether the selector of the servers' Pods takes a Pod.
fn is_server(pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    let mut selected = SERVER_POD_SELECTOR.split(',');
    selected.all(|label| {
        let label = label.split_once('=');
        label.is_some_and(|(name, value)| labels[name] == value)
    })
}

async fn read(cluster: &GuardedCluster, object: &ObjectRef) -> Result<Option<Value>, KeysError> {
    let live = cluster.read(object).await;
    Ok(live.map_err(CommandError::from)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str) -> ObjectRef {
        ObjectRef {
            name: name.to_owned(),
            logical_name: "aip-env-dev".to_owned(),
            ..ObjectRef::any_pod("aip")
        }
    }

    fn pod(is_server: bool, phase: &str, secrets: &[&str]) -> Value {
        let labels = if is_server {
            json!({"app.kubernetes.io/instance": "aip", "app.kubernetes.io/name": "aip", "more": "x"})
        } else {
            json!({"app.kubernetes.io/name": "aip", "job-name": "import"})
        };
        let env = secrets
            .iter()
            .map(|name| json!({"secretRef": {"name": name}}));
        json!({
            "metadata": {"name": "pod", "labels": labels},
            "spec": {"containers": [{"envFrom": env.collect::<Vec<_>>()}]},
            "status": {"phase": phase},
        })
    }

    #[test]
    fn a_pod_that_is_being_deleted_has_its_grace_period_to_stop() {
        let mut pod = pod(true, "Running", &[]);
        assert_eq!(stopping_time(&pod), None);
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(stopping_time(&pod), Some(Duration::ZERO));
        pod["metadata"]["deletionGracePeriodSeconds"] = 60.into();
        assert_eq!(stopping_time(&pod), Some(Duration::from_mins(1)));
    }

    #[test]
    fn a_pod_with_another_version_of_the_secret_is_found_whatever_it_is() {
        let (now, next) = (
            secret("aip-env-dev-0000000001"),
            secret("aip-env-dev-0000000002"),
        );
        let allowed = [&now, &next];
        let old = "aip-env-dev-0000000000";
        let cases: [(bool, &str, &[&str], Option<&str>); 18] = [
            (true, "Running", &["aip-env-dev-0000000001"], None),
            (true, "Pending", &["x", "aip-env-dev-0000000002"], None),
            (true, "Running", &[old], Some(old)),
            (true, "Pending", &[old], Some(old)),
            (true, "Running", &["aip-env-dev-0000000001", old], Some(old)),
            (true, "Running", &["x"], Some("no Secret of the stack")),
            (true, "Failed", &[old], None),
            (false, "Running", &["aip-env-dev-0000000001"], None),
            (false, "Running", &[old], Some(old)),
            (false, "Pending", &["x", old], Some(old)),
            (false, "Succeeded", &[old], None),
            (false, "Running", &["x", "aip-env-dev"], None),
            (false, "Running", &[], None),
            // Of the stack `dev-2` in the same namespace.
            (false, "Running", &["aip-env-dev-2-0000000000"], None),
            // Of an operator.
            (false, "Running", &["aip-env-dev-backup"], None),
            (false, "Running", &["aip-env-dev-00000000"], None),
            (false, "Running", &["aip-env-dev-000000000G"], None),
            (
                true,
                "Running",
                &["aip-env-dev-0000000001", "aip-env-dev-old"],
                Some("aip-env-dev-old"),
            ),
        ];
        for (is_server, phase, secrets, expected) in cases {
            let pod = pod(is_server, phase, secrets);
            let found = other_version(&pod, &now, &allowed);
            assert_eq!(found.as_deref(), expected, "{pod}");
        }
        let bare = json!({"spec": {"containers": [{"envFrom": [{"secretRef": {"name": old}}]}]}});
        assert_eq!(other_version(&bare, &now, &allowed).as_deref(), Some(old));
    }
}
