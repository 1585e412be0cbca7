//! The way of every command that changes what is deployed: plan, ask, take the lease, plan again,
//! apply, write the history.

use std::time::Duration;

use aip_apply::apply::lease::LeaseRenewer;
use aip_apply::apply::{
    self, ApplyContext, ApplyError, ApplyOptions, Approval, ApprovedPlan, FailPoint, Progress,
    is_pulumi,
};
use aip_apply::cluster::{GuardedCluster, PinnedCluster};
use aip_apply::plan::Plan;
use aip_apply::store::{Intent, Inventory, Outcome, StoreError, last_good};
use aip_apply::time::rfc3339;
use aip_stack::Target;
use tokio::time::Instant;

use super::Operation;
use super::lease::with_lease;
use super::plan::plan;
use super::record::{Summary, record};
use crate::commands::apply_flags::ApplyFlags;
use crate::commands::failure::CommandError;
use crate::context::OpenStack;
use crate::outputs::{Address, edge};
use crate::present::progress::ProgressView;
use crate::present::{details, print};
use crate::ui::prompt::{Answer, ask};
use crate::ui::style::{self, paint};

pub(crate) struct Deployment<'d> {
    stack: &'d OpenStack<'d>,
    target: &'d Target,
    operation: Operation<'d>,
    flags: &'d ApplyFlags,
}

impl<'d> Deployment<'d> {
    pub(crate) fn new(
        stack: &'d OpenStack<'d>,
        target: &'d Target,
        operation: Operation<'d>,
        flags: &'d ApplyFlags,
    ) -> Self {
        Self {
            stack,
            target,
            operation,
            flags,
        }
    }

    /// Plans, asks for confirmation, takes the lease, plans again, applies, records the revision.
    pub(crate) async fn run(&self) -> Result<(), CommandError> {
        let (cluster, approval) = self.approved().await?;
        with_lease(self.stack, self.operation, async |lease| {
            // Boxed: the future of an apply is larger than a stack frame should be.
            Box::pin(self.apply_locked(cluster, approval, lease)).await
        })
        .await
    }

    /// The same under a lease that is held already.
    pub(crate) async fn run_with(&self, lease: &LeaseRenewer) -> Result<(), CommandError> {
        let (cluster, approval) = self.approved().await?;
        Box::pin(self.apply_locked(cluster, approval, lease)).await
    }

    /// Plans and asks for confirmation.
    async fn approved(&self) -> Result<(GuardedCluster, Approval), CommandError> {
        let inventory = self.inventory().await?;
        let cluster = self.stack.cluster(&self.target.context, &inventory).await?;
        let plan = self.plan(&cluster, &inventory).await?;
        if !self.flags.skip_preview {
            self.preview(&plan, &cluster);
        }
        let approval = self.approve(plan, &cluster)?;
        Ok((cluster, approval))
    }

    /// The state of the stack, with what is being adopted.
    async fn inventory(&self) -> Result<Inventory, StoreError> {
        let mut inventory = self.stack.store.inventory().await?;
        if let Some(objects) = self.operation.adopted() {
            inventory.intents.push(Intent {
                id: "adoption".to_owned(),
                started: rfc3339(self.stack.ctx.clock.now()),
                objects: objects.to_vec(),
            });
        }
        Ok(inventory)
    }

    /// The plan. Fields that Pulumi claims are ours when its stack is adopted.
    async fn plan(
        &self,
        cluster: &GuardedCluster,
        inventory: &Inventory,
    ) -> Result<Plan, CommandError> {
        let mut plan = plan(cluster, self.target, inventory).await?;
        if self.operation.adopted().is_some() {
            for conflict in plan.steps.iter_mut().flat_map(|step| &mut step.conflicts) {
                conflict.previously_owned |= is_pulumi(&conflict.manager);
            }
        }
        Ok(plan)
    }

    fn preview(&self, plan: &Plan, cluster: &GuardedCluster) {
        print::plan(
            &self.stack.ctx.screen,
            &self.operation.preview_heading(),
            plan,
            self.stack.target_info(self.target),
            cluster,
            self.flags.diff,
        );
    }

    /// Asks, unless there is nothing to ask.
    fn approve(&self, plan: Plan, cluster: &GuardedCluster) -> Result<Approval, CommandError> {
        let screen = &self.stack.ctx.screen;
        let changes = plan.counts().changes() > 0;
        let stack_info = self.stack.target_info(self.target);
        let pages = details::details(&plan, stack_info, cluster.uid());
        let approval = Approval::of(plan, self.flags.take_ownership)?;
        if self.flags.yes || !changes {
            return Ok(approval);
        }
        screen.line("");
        let without = if self.flags.skip_preview {
            " without a preview"
        } else {
            ""
        };
        let noun = self.operation.labels().noun;
        let question = format!("Do you want to perform this {noun}{without}?");
        loop {
            match ask(screen, &question, !self.flags.diff)? {
                Answer::Yes => return Ok(approval),
                Answer::No => return Err(CommandError::Declined(noun)),
                Answer::Details => screen.lines(&pages),
            }
        }
    }

    async fn apply_locked(
        &self,
        cluster: GuardedCluster,
        approval: Approval,
        lease: &LeaseRenewer,
    ) -> Result<(), CommandError> {
        // Read again: whoever had the lease before may have changed everything.
        let inventory = self.inventory().await?;
        let again = self.plan(&cluster, &inventory).await?;
        let approved = approval.confirm(again)?;
        let cluster = cluster.pin(self.stack.store.as_ref()).await?;
        let changed = approved.plan().counts().changes() > 0;
        let result = self
            .apply_and_record(&cluster, &approved, &inventory, lease)
            .await;
        match result {
            Err(error @ (ApplyError::Rollout(_) | ApplyError::TimedOut { .. }))
                if self.operation.rolls_back_on_failure() =>
            {
                self.stack
                    .ctx
                    .screen
                    .status(paint(style::DELETE, format!("error: {error}")));
                self.auto_rollback(&cluster, lease).await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
            Ok(()) if self.operation.expects_no_changes() && changed => Err(
                CommandError::UnexpectedChanges("no changes were expected but changes were made"),
            ),
            Ok(()) => Ok(()),
        }
    }

    /// Applies and writes the history, whatever comes of it.
    async fn apply_and_record(
        &self,
        cluster: &PinnedCluster,
        approved: &ApprovedPlan,
        inventory: &Inventory,
        lease: &LeaseRenewer,
    ) -> Result<(), ApplyError> {
        let (ctx, store) = (self.stack.ctx, &self.stack.store);
        let (started, since) = (ctx.clock.now(), Instant::now());
        let stack_info = self.stack.target_info(self.target);
        let mut view = ProgressView::new(&ctx.screen, stack_info, self.operation.labels().heading);
        let apply_context = ApplyContext {
            cluster,
            store,
            lease,
            clock: ctx.clock.as_ref(),
            rng: ctx.rng.as_ref(),
            fail_points: ctx.fail_points.as_ref(),
            namespace: &self.target.namespace,
            inventory,
            options: ApplyOptions {
                release_pulumi_ownership: self.operation.adopted().is_some(),
                ..self.flags.options()
            },
        };
        let result = apply::run(&apply_context, approved, &mut view).await;
        view.finish();
        let plan = approved.plan();
        let progress = final_progress(plan, view.progress(), result.is_ok());
        let address = match edge(&self.target.desired).filter(|_| result.is_ok()) {
            // The work is done: what is only shown may not make it fail.
            Some(edge) => Address::of(cluster, &edge).await.ok(),
            None => None,
        };
        print::result(
            &ctx.screen,
            self.operation.labels().heading,
            plan,
            stack_info,
            &progress,
            since.elapsed(),
            address.as_ref(),
        );
        if plan.counts().changes() > 0 || (result.is_ok() && self.should_record().await?) {
            let summary = Summary {
                started,
                counts: plan.counts(),
                outcome: match (&result, self.operation) {
                    (Ok(()), Operation::AutoRollback) => Outcome::RolledBack,
                    (Ok(()), _) => Outcome::Succeeded,
                    (Err(_), _) => Outcome::Failed,
                },
            };
            let record = record(self.stack, self.target, self.operation, summary).await;
            store.append_history(&record).await?;
            ctx.fail_points.reached(FailPoint::HistoryRecorded).await;
        }
        result
    }

    /// Whether the history does not have the target as the last good state: after a run that was
    /// killed or failed there may be nothing left to change, and this run is the one that succeeded.
    async fn should_record(&self) -> Result<bool, StoreError> {
        let last = self.stack.store.history(1).await?;
        let Some((_, record)) = last.first().filter(|(_, record)| record.is_good()) else {
            return Ok(true);
        };
        let has_same_image = record.image.as_ref() == Some(&self.target.image);
        if has_same_image && record.stack_file == self.target.stack_file {
            return Ok(false);
        }
        // Another comment in the file is not another state to go back to.
        let before = self.stack.target_of_revision(record).await;
        Ok(before.map_or(true, |before| !before.has_same_objects_as(self.target)))
    }

    /// Deploys the last revision that succeeded.
    async fn auto_rollback(
        &self,
        cluster: &PinnedCluster,
        lease: &LeaseRenewer,
    ) -> Result<(), CommandError> {
        let good = last_good(self.stack.store.as_ref()).await?;
        let (revision, record) = good.ok_or(CommandError::NoEarlierRevision)?;
        self.stack.ctx.screen.status(format!(
            "Rolling back to revision {} ({}). The database schema is not rolled back.",
            revision.0,
            record.image.as_deref().unwrap_or("unknown image")
        ));
        let target = self.stack.target_of_revision(&record).await?;
        let rollback = Deployment {
            target: &target,
            operation: Operation::AutoRollback,
            ..*self
        };
        let inventory = rollback.inventory().await?;
        let plan = rollback.plan(cluster, &inventory).await?;
        let approval = Approval::of(plan.clone(), self.flags.take_ownership)?;
        let approved = approval.confirm(plan)?;
        rollback
            .apply_and_record(cluster, &approved, &inventory, lease)
            .await?;
        Ok(())
    }
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
