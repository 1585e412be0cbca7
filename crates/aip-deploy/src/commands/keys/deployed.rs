//! The keys that were deployed: by the history, and by the Secret that the Pods have.

use aip_apply::cluster::GuardedCluster;
use aip_apply::plan::Deleting;
use aip_apply::plan::references::secrets_of_pod;
use aip_apply::store::{HISTORY_LIMIT, Outcome, RevisionRecord};
use aip_base::Timestamp;
use aip_stack::Target;
use aip_stack::desired::{Desired, ObjectRef};
use aip_stack::signing_keys::Deployed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pulumi_files::StackFile;

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
            let (Ok(file), Some(ended)) = (revision_file(stack, &record), ended(&record)) else {
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

fn ended(record: &RevisionRecord) -> Option<Timestamp> {
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
pub(super) async fn live(
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

/// Whether a name is one of a Secret whose name follows from its content.
pub(super) fn is_version(secret: &ObjectRef, name: &str) -> bool {
    let hash = name.strip_prefix(&secret.logical_name);
    hash.is_some_and(|hash| hash.starts_with('-'))
}

async fn read(
    cluster: &GuardedCluster,
    object: &ObjectRef,
) -> Result<Option<serde_json::Value>, KeysError> {
    let live = cluster.read(object).await;
    Ok(live.map_err(CommandError::from)?)
}
