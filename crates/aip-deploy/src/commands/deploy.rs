//! The way of every command that changes what is deployed: plan, ask, take the lease, plan again,
//! apply, write the history.

use std::time::Duration;

use tokio::time::Instant;

use crate::adoption::is_pulumi;
use crate::apply::lease::{LeaseKeeper, TTL};
use crate::apply::{self, ApplyError, Approval, ApprovedPlan, Options, Run};
use crate::commands::failure::CommandError;
use crate::commands::reporter::Live;
use crate::commands::session::{Session, plan};
use crate::commands::shown;
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

/// How to deploy.
#[derive(Clone, Copy)]
pub struct Manner<'m> {
    /// The command, as the history names it.
    pub command: &'static str,
    /// `update`, `rollback`: what the question is about.
    pub what: &'static str,
    /// Over the plan.
    pub previewing: &'static str,
    /// Over the work.
    pub doing: &'static str,
    /// Go back if the rollout fails.
    pub rollback_on_failure: bool,
    /// Exit with 7 after changes.
    pub expect_no_changes: bool,
    /// The objects that Pulumi made, if they are adopted.
    pub adopted: Option<&'m [ObjectRef]>,
    /// Whether this restores what was before a failure.
    pub restores: bool,
    /// The flags that all such commands share.
    pub flags: &'m ApplyFlags,
}

impl Manner<'_> {
    /// The state of the stack, with what is being adopted.
    async fn inventory(&self, session: &Session<'_>) -> Result<Inventory, CommandError> {
        let mut inventory = session.store.inventory().await?;
        if let Some(objects) = self.adopted {
            inventory.intents.push(Intent {
                id: "adoption".to_owned(),
                started: rfc3339(session.selection.clock.now()),
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
        if self.adopted.is_some() {
            for conflict in plan.steps.iter_mut().flat_map(|step| &mut step.conflicts) {
                conflict.was_ours |= is_pulumi(&conflict.manager);
            }
        }
        Ok(plan)
    }

    fn options(&self) -> Options {
        Options {
            hand_over: self.adopted.is_some(),
            ..self.flags.options()
        }
    }
}

/// Deploys the target.
pub async fn deploy(
    session: &Session<'_>,
    target: &Target,
    manner: Manner<'_>,
) -> Result<(), CommandError> {
    let inventory = manner.inventory(session).await?;
    let cluster = session.cluster(&target.context, &inventory).await?;
    let shown = manner.plan(&cluster, target, &inventory).await?;
    if !manner.flags.skip_preview {
        let names = session.names(&target.notices);
        shown::plan(
            session.screen,
            manner.previewing,
            &shown,
            names,
            &cluster,
            manner.flags.diff,
        );
    }
    let approval = approve(session, target, &cluster, shown, manner)?;
    let lease = LeaseKeeper::acquire(
        session.store.clone(),
        &session.holder(manner.command, Some(TTL)),
    )
    .await?;
    let work = under_lease(session, target, cluster, approval, &lease, manner);
    let result = tokio::select! {
        result = work => result,
        () = interrupted() => Err(CommandError::Cancelled),
    };
    session.screen.clear_region();
    let released = lease.release().await;
    result?;
    Ok(released?)
}

/// Asks, unless there is nothing to ask.
fn approve(
    session: &Session<'_>,
    target: &Target,
    cluster: &GuardedCluster,
    shown: Plan,
    manner: Manner<'_>,
) -> Result<Approval, CommandError> {
    let changes = shown.counts().changes() > 0;
    let names = session.names(&target.notices);
    let pages = details::details(&shown, names, cluster.uid());
    let approval = Approval::of(shown, manner.flags.take_ownership)?;
    if manner.flags.yes || !changes {
        return Ok(approval);
    }
    session.screen.line("");
    let without = if manner.flags.skip_preview {
        " without a preview"
    } else {
        ""
    };
    let question = format!("Do you want to perform this {}{without}?", manner.what);
    loop {
        match ask(session.screen, &question, !manner.flags.diff)? {
            Answer::Yes => return Ok(approval),
            Answer::No => return Err(CommandError::Declined(manner.what)),
            Answer::Details => session.screen.lines(&pages),
        }
    }
}

async fn under_lease(
    session: &Session<'_>,
    target: &Target,
    cluster: GuardedCluster,
    approval: Approval,
    lease: &LeaseKeeper,
    manner: Manner<'_>,
) -> Result<(), CommandError> {
    // Read again: whoever had the lease before may have changed everything.
    let inventory = manner.inventory(session).await?;
    let again = manner.plan(&cluster, target, &inventory).await?;
    let approved = approval.confirm(again)?;
    let cluster = cluster.pin(session.store.as_ref()).await?;
    let changed = approved.plan().counts().changes() > 0;
    let result = carry_out(
        session, target, &cluster, &approved, &inventory, lease, manner,
    )
    .await;
    match result {
        Err(error @ (ApplyError::Rollout(_) | ApplyError::TimedOut { .. }))
            if manner.rollback_on_failure =>
        {
            session
                .screen
                .note(paint(style::DELETE, format!("error: {error}")));
            go_back(session, &cluster, lease, manner).await?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
        Ok(()) if manner.expect_no_changes && changed => Err(CommandError::UnexpectedChanges(
            "no changes were expected but changes were made",
        )),
        Ok(()) => Ok(()),
    }
}

/// Applies and writes the history, whatever comes of it.
async fn carry_out(
    session: &Session<'_>,
    target: &Target,
    cluster: &PinnedCluster,
    approved: &ApprovedPlan,
    inventory: &Inventory,
    lease: &LeaseKeeper,
    manner: Manner<'_>,
) -> Result<(), ApplyError> {
    let selection = session.selection;
    let (started, since) = (selection.clock.now(), Instant::now());
    let names = session.names(&target.notices);
    let mut live = Live::new(session.screen, names, manner.doing);
    let run = Run {
        cluster,
        store: &session.store,
        lease,
        clock: selection.clock.as_ref(),
        rng: selection.rng.as_ref(),
        namespace: &target.namespace,
        inventory,
        options: manner.options(),
    };
    let result = apply::run(&run, approved, &mut live).await;
    live.finish();
    let plan = approved.plan();
    let progress = all(plan, live.progress(), result.is_ok());
    let address = match load_balancer(&target.desired).filter(|_| result.is_ok()) {
        // The work is done: what is only shown may not make it fail.
        Some(service) => Address::of(cluster, &service).await.ok(),
        None => None,
    };
    shown::result(
        session.screen,
        manner.doing,
        plan,
        names,
        &progress,
        since.elapsed(),
        address.as_ref(),
    );
    if plan.counts().changes() > 0 || (result.is_ok() && is_news(session, target).await?) {
        let record = RevisionRecord {
            command: manner.command.to_owned(),
            user: session.holder(manner.command, None).user,
            host: session.holder(manner.command, None).host,
            started: rfc3339(started),
            ended: rfc3339(selection.clock.now()),
            git_commit: git_commit(session).await,
            image: Some(target.image.clone()),
            counts: plan.counts(),
            outcome: match (&result, manner.restores) {
                (Ok(()), false) => Outcome::Succeeded,
                (Ok(()), true) => Outcome::RolledBack,
                (Err(_), _) => Outcome::Failed,
            },
            stack_file: target.stack_file.clone(),
        };
        session.store.append_history(&record).await?;
    }
    result
}

/// Whether the history does not have the target as the last good state: after a run that was
/// killed or failed there may be nothing left to change, and this run is the one that succeeded.
async fn is_news(session: &Session<'_>, target: &Target) -> Result<bool, StoreError> {
    let last = session.store.history(1).await?;
    let Some((_, record)) = last.first().filter(|(_, record)| record.is_good()) else {
        return Ok(true);
    };
    if record.stack_file == target.stack_file {
        return Ok(false);
    }
    // Another comment in the file is not another state to go back to.
    let before = session.selection.with_stack_file(&record.stack_file).await;
    Ok(before.map_or(true, |before| before.objects() != target.objects()))
}

/// What was not begun did not happen; what is pruned is done when all is.
fn all(plan: &Plan, progress: &[Progress], succeeded: bool) -> Vec<Progress> {
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
async fn go_back(
    session: &Session<'_>,
    cluster: &PinnedCluster,
    lease: &LeaseKeeper,
    manner: Manner<'_>,
) -> Result<(), CommandError> {
    let good = last_good(session.store.as_ref()).await?;
    let (revision, record) = good.ok_or(CommandError::NoEarlierRevision)?;
    session.screen.note(format!(
        "Going back to revision {} ({}). The database schema is not taken back.",
        revision.0,
        record.image.as_deref().unwrap_or("unknown image")
    ));
    let target = session
        .selection
        .with_stack_file(&record.stack_file)
        .await?;
    let inventory = session.store.inventory().await?;
    let plan = plan(cluster, &target, &inventory).await?;
    let approved = Approval::of(plan.clone(), manner.flags.take_ownership)?.confirm(plan)?;
    let manner = Manner {
        command: "rollback",
        doing: "Rolling back",
        adopted: None,
        restores: true,
        ..manner
    };
    Ok(carry_out(
        session, &target, cluster, &approved, &inventory, lease, manner,
    )
    .await?)
}

/// Ctrl-C or SIGTERM: stop writing, give the lease back.
pub(super) async fn interrupted() {
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
async fn git_commit(session: &Session<'_>) -> Option<String> {
    let folder = session.project.file.parent()?;
    let output = tokio::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(folder)
        .output()
        .await
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
