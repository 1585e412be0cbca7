//! The keys that were deployed: by the history, and by the Secret that the Pods have.

use aip_apply::cluster::GuardedCluster;
use aip_apply::plan::Deleting;
use aip_apply::store::{HISTORY_LIMIT, Outcome, RevisionRecord};
use aip_base::Timestamp;
use aip_stack::Target;
use aip_stack::desired::{Desired, ObjectRef};
use aip_stack::signing_keys::{Deployed, SigningKeys};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pulumi_files::StackFile;

use super::KeysError;
use crate::commands::failure::CommandError;
use crate::context::{Context, Stack};

/// The deployments that succeeded since the stack was last destroyed, as far back as their keys can be read.
pub(super) struct History {
    pub(super) deployed: Deployed,
    /// The last one.
    pub(super) last: Option<RevisionRecord>,
}

impl History {
    pub(super) async fn of(ctx: &Context, stack: &Stack) -> Result<Self, KeysError> {
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
            let Some(read) = keys_of(ctx, stack, &record).await else {
                break;
            };
            history.deployed.0.push(read);
            history.last.get_or_insert(record);
        }
        Ok(history)
    }
}

fn is_destroyed_by(record: &RevisionRecord) -> bool {
    record.command == "destroy" && record.outcome == Outcome::Succeeded
}

async fn keys_of(
    ctx: &Context,
    stack: &Stack,
    record: &RevisionRecord,
) -> Option<(Timestamp, SigningKeys)> {
    let file = revision_file(stack, record).ok()?;
    let keys = super::read(ctx, stack, &file).await.ok()?;
    let ended = record.ended.parse::<jiff::Timestamp>().ok()?;
    Some((Timestamp::from_micros(ended.as_microsecond()), keys))
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

/// The Secret that the Pods have their keys from, and the keys; none if they have none. Without a
/// Deployment there are no Pods.
pub(super) async fn live(
    cluster: &GuardedCluster,
    target: &Target,
) -> Result<Option<(ObjectRef, SigningKeys)>, KeysError> {
    const FILE: &str = "signing_keys.json";
    let mut desired = target.desired.iter();
    let deployment = desired
        .clone()
        .find(|one| one.object().kind == "Deployment");
    let secret = desired.find(|one| one.manifest()["data"].get(FILE).is_some());
    let (Some(deployment), Some(secret)) = (deployment, secret.map(Desired::object)) else {
        return Ok(None);
    };
    let deployment = read(cluster, deployment.object()).await?;
    let deployment = deployment.filter(|live| Deleting::of(live).is_none());
    let deployment = deployment.ok_or(KeysError::NothingDeployed)?;
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array();
    let names = volumes.into_iter().flatten();
    let mut names = names.filter_map(|volume| volume["secret"]["secretName"].as_str());
    let Some(name) = names.find(|name| {
        name.strip_prefix(&secret.logical_name)
            .is_some_and(|hash| hash.starts_with('-'))
    }) else {
        return Ok(None);
    };
    let secret = ObjectRef {
        name: name.to_owned(),
        ..secret.clone()
    };
    let Some(live) = read(cluster, &secret).await? else {
        return Ok(None);
    };
    let bad = |reason: String| KeysError::Live {
        secret: secret.to_string(),
        reason,
    };
    let bytes = live["data"][FILE]
        .as_str()
        .map(|text| STANDARD.decode(text));
    let text = bytes
        .and_then(Result::ok)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| bad(format!("`{FILE}` is missing or no text")))?;
    let keys = SigningKeys::parse(&text, Vec::new(), Vec::new());
    let keys = keys.map_err(|error| bad(error.to_string()))?;
    Ok(Some((secret, keys)))
}

async fn read(
    cluster: &GuardedCluster,
    object: &ObjectRef,
) -> Result<Option<serde_json::Value>, KeysError> {
    let live = cluster.read(object).await;
    Ok(live.map_err(CommandError::from)?)
}
