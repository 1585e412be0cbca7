//! `keys rotate --auto --purpose master`: the keys that protect the database. A new one is published; then it
//! seals; then `aip keys rekey` runs as a Job, and the old ones are removed. Each is a run that deploys.
//!
//! Every run looks at what is there, as the rotation of signing keys does: the stack file, the history, the
//! Secret of the Pods, and the Pods. An old key is removed by a run whose own Job has sealed everything again,
//! whatever runs before it did, and while no Pod seals with another key.

use std::time::Duration;

use aip_apply::apply::{FailPoint, LeaseRenewer};
use aip_apply::cluster::GuardedCluster;
use aip_apply::store::RevisionRecord;
use aip_stack::Target;
use aip_stack::config::fields::{ENV_CONFIG, EXTRA_ENV, PROFILE, REQUIRED_ENV};
use aip_stack::desired::{Desired, ObjectRef, REKEY_TIMEOUT_SECONDS};
use aip_stack::master_keys::{MasterDue, MasterKeys, MasterStep};
use aip_stack::signing_keys::Deployed;
use pulumi_files::StackFile;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::Instant;

use super::KeysError;
use super::auto::{deploy, only_keys_differ, print_next_step, rotation_period};
use super::deployed::{History, other_version, read_live_value, stopping_time};
use crate::commands::apply_flags::ApplyFlags;
use crate::commands::failure::CommandError;
use crate::context::{Context, OpenStack, SecretsMode, Stack};
use crate::workflow::{Deployment, Operation, with_lease};

const MASTER_KEYS: &str = "AIP_MASTER_KEYS";
/// Between two looks at Pods that are stopping.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a Pod may be there after its grace period: its node reports late.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// What is asked for on the command line.
pub(super) struct MasterRotation {
    /// In place of `aip_config.keys.rotate_every`.
    pub(super) every: Option<Duration>,
}

/// The stack as a run finds it.
struct RotationStatus {
    file: StackFile,
    /// Where the file has the keys.
    path: String,
    keys: MasterKeys,
    deployed: Deployed<MasterKeys>,
    /// The last deployment that succeeded, and its keys.
    last: RevisionRecord,
    last_keys: MasterKeys,
    due: MasterDue,
    /// Whether the keys of the file are other ones than those of the last deployment.
    is_ahead: bool,
}

/// The Pods as a run finds them.
struct Pods {
    cluster: GuardedCluster,
    namespace: String,
    /// The Secret that new Pods have the keys from, and the keys.
    secret: ObjectRef,
    keys: MasterKeys,
}

impl MasterRotation {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), KeysError> {
        let stack = ctx.open_stack().await?;
        // Most runs end here, without having written anything.
        let status = self.read_status(ctx, stack.stack).await?;
        if !status.is_ahead && status.due.step.is_none() {
            print_next_step(ctx, status.due.next);
            return Ok(());
        }
        with_lease(&stack, Operation::RotateKeys, async |lease| {
            // Boxed: the future of an apply is larger than a stack frame should be.
            Box::pin(self.rotate(&stack, lease)).await
        })
        .await?;
        print_next_step(ctx, self.read_status(ctx, stack.stack).await?.due.next);
        Ok(())
    }

    /// What is due, by the stack file and the history.
    async fn read_status(&self, ctx: &Context, stack: &Stack) -> Result<RotationStatus, KeysError> {
        let file = stack.load()?;
        let profile = ctx.text(stack, &file, PROFILE.path()).await?;
        if profile.is_none_or(|profile| profile.expose_secret() != "restricted") {
            return Err(KeysError::MasterProfile);
        }
        let every = rotation_period(ctx, stack, &file, self.every).await?;
        let (path, keys) = read(ctx, stack, &file).await?;
        let of_revision = async |file: &StackFile| Ok(read(ctx, stack, file).await?.1);
        let History { deployed, last } = History::of(ctx, stack, of_revision).await?;
        let (Some((_, last_keys)), Some(last)) = (deployed.0.first(), last) else {
            return Err(KeysError::NothingDeployed);
        };
        if let Some(by) = keys.outdated_by(&deployed) {
            return Err(KeysError::overtaken_by(by, &last));
        }
        let (is_ahead, last_keys) = (keys != *last_keys, last_keys.clone());
        let due = keys.due(every, &deployed, ctx.clock.now());
        Ok(RotationStatus {
            file,
            path,
            keys,
            deployed,
            last,
            last_keys,
            due,
            is_ahead,
        })
    }

    /// Deploys what an earlier run has written, or else makes the step that is due.
    async fn rotate(&self, stack: &OpenStack<'_>, lease: &LeaseRenewer) -> Result<(), KeysError> {
        let ctx = stack.ctx;
        // Again: whoever had the lease before may have done it all.
        let mut status = self.read_status(ctx, stack.stack).await?;
        only_keys_differ(stack, &status.file, &status.last, &[&status.path]).await?;
        let pods = Pods::of(stack, &status).await?;
        if status.is_ahead {
            let removed = status.keys.removed_since(&status.last_keys);
            // Pods that know them no more are those of an earlier run, whose Job came to its end.
            if !removed.is_empty() && pods.keys != status.keys {
                if status.keys.primary() != status.last_keys.primary() {
                    return Err(KeysError::RemovedTooEarly(removed));
                }
                seal_again(stack, lease, &status, &pods).await?;
            }
            return deploy(stack, lease, &status.file, status.last).await;
        }
        let Some(step) = status.due.step.take() else {
            return Ok(());
        };
        // Somebody may have gone back to earlier Pods behind the back of the history.
        if pods.keys != status.keys {
            return Err(KeysError::Live {
                secret: pods.secret.to_string(),
                reason: "it has other master keys than the last deployment".to_owned(),
            });
        }
        match &step {
            MasterStep::Publish => {}
            MasterStep::Activate(_) => pods.all_have(ctx, &[&pods.secret]).await?,
            MasterStep::Remove(_) => seal_again(stack, lease, &status, &pods).await?,
        }
        for kid in status
            .keys
            .make(&step, ctx.clock.as_ref(), ctx.rng.as_ref())
        {
            ctx.screen.line(step_text(&step, &kid));
        }
        let RotationStatus {
            file, path, keys, ..
        } = &mut status;
        let text = keys.to_json();
        let sealed = super::sealed(ctx, file, text.expose_secret(), path).await?;
        file.set(&stack.stack.config_path(path, true)?, sealed)?;
        file.save()?;
        ctx.fail_points.reached(FailPoint::KeysWritten).await;
        deploy(stack, lease, &status.file, status.last).await
    }
}

impl Pods {
    /// Refuses a stack that has none, and one whose Pods have newer keys than the file: somebody may have deleted
    /// them, and a deployment from another copy of the file may have been killed before it came into the history.
    async fn of(stack: &OpenStack<'_>, status: &RotationStatus) -> Result<Self, KeysError> {
        let target = stack.target(SecretsMode::Decrypted).await?;
        let inventory = stack.store.inventory().await?;
        let cluster = stack.cluster(&target.context, &inventory).await;
        let cluster = cluster.map_err(CommandError::from)?;
        let Some((secret, text)) = read_live_value(&cluster, &target, MASTER_KEYS).await? else {
            return Err(KeysError::NothingDeployed);
        };
        let place = secret.to_string();
        let keys = MasterKeys::parse(&text).map_err(|error| KeysError::Live {
            secret: place.clone(),
            reason: format!("`{MASTER_KEYS}` {error}"),
        })?;
        let now = stack.ctx.clock.now();
        let live = std::iter::once((now, keys.clone()));
        let history = Deployed(live.chain(status.deployed.0.iter().cloned()).collect());
        if let Some(by) = status.keys.outdated_by(&history) {
            return Err(KeysError::Overtaken { by, place });
        }
        let primary = status.keys.primary();
        if !keys.has(primary) {
            return Err(KeysError::UnknownToPods(primary.to_owned()));
        }
        Ok(Self {
            cluster,
            namespace: target.namespace,
            secret,
            keys,
        })
    }

    /// That no Pod of the namespace has other keys than those of these Secrets. Not servers alone: an import
    /// seals, too. A Pod that is stopping still seals: it is waited for until its grace period has ended.
    async fn all_have(&self, ctx: &Context, secrets: &[&ObjectRef]) -> Result<(), KeysError> {
        let like = ObjectRef::any_pod(&self.namespace);
        let started = Instant::now();
        let mut is_told = false;
        loop {
            let pods = self.cluster.list(&like, None).await;
            let pods = pods.map_err(CommandError::from)?;
            let older = pods.iter().filter_map(|pod| {
                let secret = other_version(pod, &self.secret, secrets)?;
                Some((pod, secret))
            });
            let older: Vec<_> = older.collect();
            // One that is not stopping decides at once: waiting does not end it.
            let stays = |(pod, _): &&(&Value, String)| {
                stopping_time(pod).is_none_or(|time| started.elapsed() > time + STOP_MARGIN)
            };
            let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or("?").to_owned();
            if let Some((pod, secret)) = older.iter().find(stays) {
                let (pod, secret) = (name(pod), secret.clone());
                return Err(KeysError::OlderPod { pod, secret });
            }
            let Some((pod, _)) = older.first() else {
                return Ok(());
            };
            if !is_told {
                let pod = name(pod);
                ctx.screen.line(format!(
                    "waiting for Pod {pod}, which stops and has master keys of an earlier deployment"
                ));
                is_told = true;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Runs `aip keys rekey` as a Job with the keys that are deployed, and returns when everything is sealed with
/// the primary one.
async fn seal_again(
    stack: &OpenStack<'_>,
    lease: &LeaseRenewer,
    status: &RotationStatus,
    pods: &Pods,
) -> Result<(), KeysError> {
    let ctx = stack.ctx;
    let mut target = stack.target_of_revision(&status.last).await?;
    let to_come = RevisionRecord {
        stack_file: status.file.text().to_owned(),
        ..status.last.clone()
    };
    let to_come = stack.target_of_revision(&to_come).await?;
    // Both seal with the same key, and after a run that was killed there may be Pods of both.
    let mut allowed = secrets_like(&pods.secret, &target);
    allowed.extend(secrets_like(&pods.secret, &to_come));
    pods.all_have(ctx, &allowed).await?;
    let run = ctx.run_name();
    let job = target.desired.iter().find_map(|one| one.rekey_job(&run));
    target.desired.extend(job);
    // A stable sort: within a phase the order stays.
    target.desired.sort_by_key(Desired::phase);
    let flags = ApplyFlags {
        timeout: REKEY_TIMEOUT_SECONDS,
        ..ApplyFlags::unattended()
    };
    let deployment = Deployment::new(stack, &target, Operation::RotateKeys, &flags);
    Ok(deployment.run_with(lease).await?)
}

/// The Secrets of a target that are the same one with any content.
fn secrets_like<'t>(secret: &ObjectRef, target: &'t Target) -> Vec<&'t ObjectRef> {
    let objects = target.desired.iter().map(Desired::object);
    let is_same = |object: &&ObjectRef| {
        object.kind == secret.kind && object.logical_name == secret.logical_name
    };
    objects.filter(is_same).collect()
}

/// The master keys of a stack file, and where it has them.
async fn read(
    ctx: &Context,
    stack: &Stack,
    file: &StackFile,
) -> Result<(String, MasterKeys), KeysError> {
    for map in [EXTRA_ENV.path(), REQUIRED_ENV.path(), ENV_CONFIG.path()] {
        let path = format!("{map}.{MASTER_KEYS}");
        if let Some(text) = ctx.text(stack, file, &path).await? {
            return match MasterKeys::parse(text.expose_secret()) {
                Ok(keys) => Ok((path, keys)),
                Err(source) => Err(KeysError::MasterKeys { path, source }),
            };
        }
    }
    Err(KeysError::NoMasterKeys)
}

fn step_text(step: &MasterStep, kid: &str) -> String {
    match step {
        MasterStep::Publish => format!("published: {kid} (master)"),
        MasterStep::Activate(_) => format!("activated: {kid} (master)"),
        MasterStep::Remove(_) => format!("everything is sealed again; removed: {kid} (master)"),
    }
}
