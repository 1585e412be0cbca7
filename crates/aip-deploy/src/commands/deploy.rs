//! The way of every command that changes what is deployed: plan, ask, take the lease, plan again,
//! apply, write the history.

use std::time::Duration;

use tokio::time::Instant;

use crate::adoption::is_pulumi;
use crate::apply::lease::{LEASE_DURATION, LeaseRenewer};
use crate::apply::{self, ApplyContext, ApplyError, ApplyOptions, Approval, ApprovedPlan};
use crate::commands::deploy_context::{DeployContext, plan};
use crate::commands::failure::CommandError;
use crate::commands::print;
use crate::commands::reporter::ProgressView;
use crate::commands::up::ApplyFlags;
use crate::desired::ObjectRef;
use crate::guard::{GuardedCluster, PinnedCluster};
use crate::outputs::{Address, load_balancer};
use crate::plan::tree::Progress;
use crate::plan::{Plan, details};
use crate::store::{Intent, Inventory, Outcome, RevisionRecord, StoreError, last_good};
use crate::target::{Target, Targets as _};
use crate::ui::prompt::{Answer, ask};
use crate::ui::style::{self, paint};
use crate::ui::time::rfc3339;

/// Operation, headings and flags of one deployment.
#[derive(Clone, Copy)]
pub struct DeployRequest<'r> {
    /// The command, as the history names it.
    pub command: &'static str,
    /// `update`, `rollback`: what the question is about.
    pub operation: &'static str,
    /// Heading of the preview: `Previewing update`.
    pub preview_heading: &'static str,
    /// Heading of progress and result: `Updating`.
    pub progress_heading: &'static str,
    /// Deploy the last good revision if the rollout fails or times out.
    pub rollback_on_failure: bool,
    /// Fail with exit code 7 if anything changed.
    pub expect_no_changes: bool,
    /// The objects that Pulumi made, if they are adopted.
    pub adopted_objects: Option<&'r [ObjectRef]>,
    /// Whether this restores what was before a failure.
    pub is_auto_rollback: bool,
    /// The flags that all such commands share.
    pub flags: &'r ApplyFlags,
}

impl DeployRequest<'_> {
    /// The state of the stack, with what is being adopted.
    async fn inventory(&self, ctx: &DeployContext<'_>) -> Result<Inventory, CommandError> {
        let mut inventory = ctx.store.inventory().await?;
        if let Some(objects) = self.adopted_objects {
            inventory.intents.push(Intent {
                id: "adoption".to_owned(),
                started: rfc3339(ctx.cli.clock.now()),
                objects: objects.to_vec(),
            });
        }
        Ok(inventory)
    }

    /// The plan. Fields that Pulumi claims are ours when its stack is adopted.
    async fn plan(
        &self,
        cluster: &GuardedCluster,
        target: &Target,
        inventory: &Inventory,
    ) -> Result<Plan, CommandError> {
        let mut plan = plan(cluster, target, inventory).await?;
        if self.adopted_objects.is_some() {
            for conflict in plan.steps.iter_mut().flat_map(|step| &mut step.conflicts) {
                conflict.previously_owned |= is_pulumi(&conflict.manager);
            }
        }
        Ok(plan)
    }

    fn options(&self) -> ApplyOptions {
        ApplyOptions {
            release_pulumi_ownership: self.adopted_objects.is_some(),
            ..self.flags.options()
        }
    }
}

/// Plans, asks for confirmation, acquires the lease, plans again, applies, records the revision.
pub async fn deploy(
    ctx: &DeployContext<'_>,
    target: &Target,
    request: DeployRequest<'_>,
) -> Result<(), CommandError> {
    let inventory = request.inventory(ctx).await?;
    let cluster = ctx.cluster(&target.context, &inventory).await?;
    let shown = request.plan(&cluster, target, &inventory).await?;
    if !request.flags.skip_preview {
        let stack_info = ctx.stack_info(&target.notices);
        print::plan(
            ctx.screen,
            request.preview_heading,
            &shown,
            stack_info,
            &cluster,
            request.flags.diff,
        );
    }
    let approval = approve(ctx, target, &cluster, shown, request)?;
    let lease = LeaseRenewer::acquire(
        ctx.store.clone(),
        &ctx.holder(request.command, Some(LEASE_DURATION)),
    )
    .await?;
    let work = apply_locked(ctx, target, cluster, approval, &lease, request);
    let result = tokio::select! {
        result = work => result,
        () = shutdown_signal() => Err(CommandError::Cancelled),
    };
    ctx.screen.clear_region();
    let released = lease.release().await;
    result?;
    Ok(released?)
}

/// Asks, unless there is nothing to ask.
fn approve(
    ctx: &DeployContext<'_>,
    target: &Target,
    cluster: &GuardedCluster,
    shown: Plan,
    request: DeployRequest<'_>,
) -> Result<Approval, CommandError> {
    let changes = shown.counts().changes() > 0;
    let stack_info = ctx.stack_info(&target.notices);
    let pages = details::details(&shown, stack_info, cluster.uid());
    let approval = Approval::of(shown, request.flags.take_ownership)?;
    if request.flags.yes || !changes {
        return Ok(approval);
    }
    ctx.screen.line("");
    let without = if request.flags.skip_preview {
        " without a preview"
    } else {
        ""
    };
    let question = format!(
        "Do you want to perform this {}{without}?",
        request.operation
    );
    loop {
        match ask(ctx.screen, &question, !request.flags.diff)? {
            Answer::Yes => return Ok(approval),
            Answer::No => return Err(CommandError::Declined(request.operation)),
            Answer::Details => ctx.screen.lines(&pages),
        }
    }
}

async fn apply_locked(
    ctx: &DeployContext<'_>,
    target: &Target,
    cluster: GuardedCluster,
    approval: Approval,
    lease: &LeaseRenewer,
    request: DeployRequest<'_>,
) -> Result<(), CommandError> {
    // Read again: whoever had the lease before may have changed everything.
    let inventory = request.inventory(ctx).await?;
    let again = request.plan(&cluster, target, &inventory).await?;
    let approved = approval.confirm(again)?;
    let cluster = cluster.pin(ctx.store.as_ref()).await?;
    let changed = approved.plan().counts().changes() > 0;
    let result =
        apply_and_record(ctx, target, &cluster, &approved, &inventory, lease, request).await;
    match result {
        Err(error @ (ApplyError::Rollout(_) | ApplyError::TimedOut { .. }))
            if request.rollback_on_failure =>
        {
            ctx.screen
                .status(paint(style::DELETE, format!("error: {error}")));
            auto_rollback(ctx, &cluster, lease, request).await?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
        Ok(()) if request.expect_no_changes && changed => Err(CommandError::UnexpectedChanges(
            "no changes were expected but changes were made",
        )),
        Ok(()) => Ok(()),
    }
}

/// Applies and writes the history, whatever comes of it.
async fn apply_and_record(
    ctx: &DeployContext<'_>,
    target: &Target,
    cluster: &PinnedCluster,
    approved: &ApprovedPlan,
    inventory: &Inventory,
    lease: &LeaseRenewer,
    request: DeployRequest<'_>,
) -> Result<(), ApplyError> {
    let cli = ctx.cli;
    let (started, since) = (cli.clock.now(), Instant::now());
    let stack_info = ctx.stack_info(&target.notices);
    let mut view = ProgressView::new(ctx.screen, stack_info, request.progress_heading);
    let apply_context = ApplyContext {
        cluster,
        store: &ctx.store,
        lease,
        clock: cli.clock.as_ref(),
        rng: cli.rng.as_ref(),
        namespace: &target.namespace,
        inventory,
        options: request.options(),
    };
    let result = apply::run(&apply_context, approved, &mut view).await;
    view.finish();
    let plan = approved.plan();
    let progress = final_progress(plan, view.progress(), result.is_ok());
    let address = match load_balancer(&target.desired).filter(|_| result.is_ok()) {
        // The work is done: what is only shown may not make it fail.
        Some(service) => Address::of(cluster, &service).await.ok(),
        None => None,
    };
    print::result(
        ctx.screen,
        request.progress_heading,
        plan,
        stack_info,
        &progress,
        since.elapsed(),
        address.as_ref(),
    );
    if plan.counts().changes() > 0 || (result.is_ok() && should_record(ctx, target).await?) {
        let record = RevisionRecord {
            command: request.command.to_owned(),
            user: ctx.holder(request.command, None).user,
            host: ctx.holder(request.command, None).host,
            started: rfc3339(started),
            ended: rfc3339(cli.clock.now()),
            git_commit: git_commit(ctx).await,
            image: Some(target.image.clone()),
            counts: plan.counts(),
            outcome: match (&result, request.is_auto_rollback) {
                (Ok(()), false) => Outcome::Succeeded,
                (Ok(()), true) => Outcome::RolledBack,
                (Err(_), _) => Outcome::Failed,
            },
            stack_file: target.stack_file.clone(),
        };
        ctx.store.append_history(&record).await?;
    }
    result
}

/// Whether the history does not have the target as the last good state: after a run that was
/// killed or failed there may be nothing left to change, and this run is the one that succeeded.
async fn should_record(ctx: &DeployContext<'_>, target: &Target) -> Result<bool, StoreError> {
    let last = ctx.store.history(1).await?;
    let Some((_, record)) = last.first().filter(|(_, record)| record.is_good()) else {
        return Ok(true);
    };
    if record.stack_file == target.stack_file {
        return Ok(false);
    }
    // Another comment in the file is not another state to go back to.
    let before = ctx.cli.with_stack_file(&record.stack_file).await;
    Ok(before.map_or(true, |before| before.objects() != target.objects()))
}

/// What was not begun did not happen; what is pruned is done when all is.
fn final_progress(plan: &Plan, progress: &[Progress], succeeded: bool) -> Vec<Progress> {
    let rest = if succeeded {
        Progress::Done(Duration::ZERO)
    } else {
        Progress::Waiting
    };
    (0..plan.steps.len())
        .map(|index| match progress.get(index) {
            Some(Progress::Waiting) | None => rest,
            Some(at) => *at,
        })
        .collect()
}

/// Deploys the last revision that succeeded.
async fn auto_rollback(
    ctx: &DeployContext<'_>,
    cluster: &PinnedCluster,
    lease: &LeaseRenewer,
    request: DeployRequest<'_>,
) -> Result<(), CommandError> {
    let good = last_good(ctx.store.as_ref()).await?;
    let (revision, record) = good.ok_or(CommandError::NoEarlierRevision)?;
    ctx.screen.status(format!(
        "Rolling back to revision {} ({}). The database schema is not rolled back.",
        revision.0,
        record.image.as_deref().unwrap_or("unknown image")
    ));
    let target = ctx.cli.with_stack_file(&record.stack_file).await?;
    let inventory = ctx.store.inventory().await?;
    let plan = plan(cluster, &target, &inventory).await?;
    let approved = Approval::of(plan.clone(), request.flags.take_ownership)?.confirm(plan)?;
    let request = DeployRequest {
        command: "rollback",
        progress_heading: "Rolling back",
        adopted_objects: None,
        is_auto_rollback: true,
        ..request
    };
    Ok(apply_and_record(ctx, &target, cluster, &approved, &inventory, lease, request).await?)
}

/// Ctrl-C or SIGTERM: stop writing, give the lease back.
pub(super) async fn shutdown_signal() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => if result.is_err() {
            std::future::pending::<()>().await;
        },
        () = terminated => {}
    }
}

/// The commit of the working tree that the stack file is in; it may not be in one.
async fn git_commit(ctx: &DeployContext<'_>) -> Option<String> {
    let folder = ctx.project.file.parent()?;
    let output = tokio::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(folder)
        .output()
        .await
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
