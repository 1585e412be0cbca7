//! `keys rotate --auto`: makes the steps that are due, and deploys them as `up --yes` would.
//!
//! Every run looks at what is there: the stack file, the history and the Secret of the Pods. So a run
//! that was killed is completed by the next one. The lease of the stack is held from the look to the end
//! of the deployment: of two machines one works, and the other finds its copy of the stack file
//! overtaken. Nothing but keys is deployed: the image stays the one of the last deployment.

use std::time::Duration;

use aip_apply::apply::{FailPoint, LeaseRenewer};
use aip_apply::store::RevisionRecord;
use aip_apply::time::rfc3339;
use aip_base::Timestamp;
use aip_stack::config::fields::{KEY_OVERLAP, ROTATE_EVERY};
use aip_stack::config::{key_schedule, rotate_every};
use aip_stack::signing_keys::{Due, Purpose, Schedule, SigningKeys, Step};
use pulumi_files::StackFile;
use secrecy::ExposeSecret;
use yaml_lossless::Tree;

use super::deployed::{History, read_live_value, revision_file};
use super::{ACTIVE, KEY_SET, KeysError, variable};
use crate::commands::apply_flags::ApplyFlags;
use crate::commands::failure::CommandError;
use crate::context::{Context, OpenStack, SecretsMode, Stack};
use crate::workflow::{Deployment, Operation, with_lease};

/// The key set in its Secret.
const KEY_FILE: &str = "signing_keys.json";

/// The arguments of `keys rotate --auto`.
pub(super) struct AutoRotation {
    /// In place of `aip_config.keys.rotate_every`.
    pub(super) every: Option<Duration>,
    /// None: every purpose.
    pub(super) purpose: Option<Purpose>,
}

/// What a run reads before it decides: the keys of the stack file, the last deployment, and the steps that are due.
struct RotationStatus {
    file: StackFile,
    keys: SigningKeys,
    /// The last deployment that succeeded.
    last: RevisionRecord,
    due: Due,
    /// Whether the keys of the file are other ones than those of the last deployment.
    is_ahead: bool,
}

impl RotationStatus {
    fn has_work(&self) -> bool {
        self.is_ahead || !self.due.steps.is_empty()
    }
}

impl AutoRotation {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), KeysError> {
        let stack = ctx.open_stack().await?;
        // Most runs end here, without having written anything.
        let status = self.read_status(ctx, stack.stack).await?;
        if !status.has_work() {
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
        let schedule = self.schedule(ctx, stack, &file).await?;
        let keys = super::read(ctx, stack, &file).await?;
        let read = async |file: &StackFile| super::read(ctx, stack, file).await;
        let history = History::of(ctx, stack, read).await?;
        let (Some((_, deployed)), Some(last)) = (history.deployed.0.first(), history.last) else {
            return Err(KeysError::NothingDeployed);
        };
        if let Some(by) = keys.outdated_by(deployed) {
            return Err(KeysError::overtaken_by(by, &last));
        }
        let is_ahead = !keys.is_same(deployed);
        let now = ctx.clock.now();
        let due = keys.due(self.purpose, schedule, &history.deployed, now)?;
        Ok(RotationStatus {
            file,
            keys,
            last,
            due,
            is_ahead,
        })
    }

    async fn schedule(
        &self,
        ctx: &Context,
        stack: &Stack,
        file: &StackFile,
    ) -> Result<Schedule, KeysError> {
        let every = rotation_period(ctx, stack, file, self.every).await?;
        let overlap = ctx.text(stack, file, KEY_OVERLAP.path()).await?;
        let overlap = overlap.as_ref().map(ExposeSecret::expose_secret);
        key_schedule(every, overlap).map_err(invalid_field(KEY_OVERLAP.path()))
    }

    /// Makes the steps in the stack file and deploys it.
    async fn rotate(&self, stack: &OpenStack<'_>, lease: &LeaseRenewer) -> Result<(), KeysError> {
        let ctx = stack.ctx;
        // Again: whoever had the lease before may have done it all.
        let mut status = self.read_status(ctx, stack.stack).await?;
        if !status.has_work() {
            return Ok(());
        }
        let deployed_file = revision_file(stack.stack, &status.last)?;
        let active = variable(stack.stack, &deployed_file, ACTIVE)?;
        only_keys_differ(stack, &status.file, &status.last, &[KEY_SET, &active]).await?;
        check_deployed_keys(stack, &status.keys).await?;
        for step in &status.due.steps {
            let kid = status
                .keys
                .make(step, ctx.clock.as_ref(), ctx.rng.as_ref())?;
            ctx.screen.line(step_text(step, &kid));
        }
        super::write(ctx, stack.stack, &mut status.file, &status.keys).await?;
        ctx.fail_points.reached(FailPoint::KeysWritten).await;
        deploy(stack, lease, &status.file, status.last).await
    }
}

/// How long a key is used: `requested`, else what the stack file says.
pub(super) async fn rotation_period(
    ctx: &Context,
    stack: &Stack,
    file: &StackFile,
    requested: Option<Duration>,
) -> Result<Duration, KeysError> {
    if let Some(every) = requested {
        return Ok(every);
    }
    let text = ctx.text(stack, file, ROTATE_EVERY.path()).await?;
    let text = text.ok_or(KeysError::NoPeriod)?;
    rotate_every(text.expose_secret()).map_err(invalid_field(ROTATE_EVERY.path()))
}

fn invalid_field(path: &str) -> impl FnOnce(String) -> KeysError {
    let path = path.to_owned();
    move |reason| KeysError::Field { path, reason }
}

/// Deploys the keys of a stack file with the image of the last deployment.
pub(super) async fn deploy(
    stack: &OpenStack<'_>,
    lease: &LeaseRenewer,
    file: &StackFile,
    last: RevisionRecord,
) -> Result<(), KeysError> {
    let with_keys = RevisionRecord {
        stack_file: file.text().to_owned(),
        ..last
    };
    let target = stack.target_of_revision(&with_keys).await?;
    let flags = ApplyFlags::unattended();
    let deployment = Deployment::new(stack, &target, Operation::RotateKeys, &flags);
    Ok(deployment.run_with(lease).await?)
}

/// That the file, but for the values at `paths`, is the one that is deployed.
pub(super) async fn only_keys_differ(
    stack: &OpenStack<'_>,
    file: &StackFile,
    last: &RevisionRecord,
    paths: &[&str],
) -> Result<(), KeysError> {
    let ctx = stack.ctx;
    let deployed_file = revision_file(stack.stack, last)?;
    let mut file = file.clone();
    for &path in paths {
        let at = stack.stack.config_path(path, true)?;
        let encrypted = deployed_file
            .at(&at)
            .is_some_and(|node| node.secret().is_some());
        match ctx.text(stack.stack, &deployed_file, path).await? {
            None => {
                file.remove(&at)?;
            }
            // Whether values are encrypted decides the names of Secrets.
            Some(text) if encrypted => {
                let sealed = super::sealed(ctx, &mut file, text.expose_secret(), path).await?;
                file.set(&at, sealed)?;
            }
            Some(text) => file.set(&at, Tree::String(text.expose_secret().to_owned()))?,
        }
    }
    let with_old_keys = RevisionRecord {
        stack_file: file.text().to_owned(),
        ..last.clone()
    };
    let with_old_keys = stack.target_of_revision(&with_old_keys).await?;
    let deployed = stack.target_of_revision(last).await?;
    if with_old_keys.has_same_objects_as(&deployed) {
        Ok(())
    } else {
        Err(KeysError::UndeployedChanges)
    }
}

/// That there are Pods, and that they have no newer keys than the file: somebody may have deleted them, and a
/// `destroy` or a deployment from another copy of the file may have been killed before it came into the
/// history.
async fn check_deployed_keys(stack: &OpenStack<'_>, keys: &SigningKeys) -> Result<(), KeysError> {
    let target = stack.target(SecretsMode::Decrypted).await?;
    let inventory = stack.store.inventory().await?;
    let cluster = stack.cluster(&target.context, &inventory).await;
    let cluster = cluster.map_err(CommandError::from)?;
    if let Some((secret, text)) = read_live_value(&cluster, &target, KEY_FILE).await? {
        let place = secret.to_string();
        let live = SigningKeys::parse(&text, Vec::new(), Vec::new());
        let live = live.map_err(|error| KeysError::Live {
            secret: place.clone(),
            reason: error.to_string(),
        })?;
        if let Some(by) = keys.outdated_by(&live) {
            return Err(KeysError::Overtaken { by, place });
        }
    }
    Ok(())
}

fn step_text(step: &Step, kid: &str) -> String {
    match step {
        Step::Publish(purpose, alg) => {
            format!("published: {kid} ({}, {})", purpose.as_str(), alg.as_str())
        }
        Step::Activate(_) => format!("activated: {kid}"),
        Step::Retire(_) => format!("retired: {kid}"),
        Step::Remove(_) => format!("removed: {kid}"),
    }
}

/// Says when there is something to do next; none if that depends on a deployment.
pub(super) fn print_next_step(ctx: &Context, next: Option<Timestamp>) {
    let next = next.map(rfc3339);
    let next = next.map_or_else(
        || "after the next deployment".to_owned(),
        |at| format!("at {at}"),
    );
    ctx.screen
        .line(format!("nothing is due now; the next step is due {next}"));
}
