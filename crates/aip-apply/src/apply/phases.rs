//! Applies the steps of one phase at once, and reports each as it ends.

use aip_stack::desired::{Desired, ObjectRef, Phase};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{ApiError, PinnedCluster};
use crate::plan::{Op, Plan, Step};

use super::prune::{DELETE_TIMEOUT, wait_until_gone};
use super::{ApplyContext, ApplyError, ApprovedPlan, Progress, Reporter};

/// Applies the steps of a plan phase by phase and tracks their progress.
pub(super) struct PhaseExecutor<'s> {
    ctx: &'s ApplyContext<'s>,
    approved: &'s ApprovedPlan,
    progress: Vec<Progress>,
    applied: Vec<(ObjectRef, Value)>,
}

impl<'s> PhaseExecutor<'s> {
    pub(super) fn new(ctx: &'s ApplyContext<'s>, approved: &'s ApprovedPlan) -> Self {
        let progress = approved
            .plan()
            .steps
            .iter()
            .map(|step| match step.op {
                Op::Same | Op::Retain | Op::Protect => Progress::Done(std::time::Duration::ZERO),
                _ => Progress::Waiting,
            })
            .collect();
        Self {
            ctx,
            approved,
            progress,
            applied: Vec::new(),
        }
    }

    pub(super) fn plan(&self) -> &'s Plan {
        self.approved.plan()
    }

    /// The object as the API server returned it, if it was applied in this run.
    pub(super) fn applied(&self, object: &ObjectRef) -> Option<&Value> {
        let mut all = self.applied.iter();
        Some(&all.find(|(of, _)| of == object)?.1)
    }

    /// Creates the namespace, which the other objects need.
    pub(super) async fn namespace(&self) -> Result<(), ApplyError> {
        let desired = Desired::namespace(self.ctx.namespace);
        self.ctx.lease.check()?;
        let applied = self.ctx.cluster.apply(&desired, false).await;
        applied.map(drop).map_err(ApplyError::at(desired.object()))
    }

    /// Applies what the phase has to change. All steps are tried: one error is reported after the
    /// others came to their end, so that nothing is left under way.
    pub(super) async fn apply(
        &mut self,
        phase: Phase,
        deadline: Instant,
        reporter: &mut dyn Reporter,
    ) -> Result<(), ApplyError> {
        let plan = self.approved.plan();
        let started = Instant::now();
        let mut work = FuturesUnordered::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let Some(desired) = step
                .desired
                .as_ref()
                .filter(|desired| desired.phase() == phase)
            else {
                continue;
            };
            if !step.must_be_sent() {
                continue;
            }
            self.ctx.lease.check()?;
            self.progress[index] = Progress::Running(started.elapsed());
            let force = self.approved.takes_ownership() || !step.conflicts.is_empty();
            let cluster = self.ctx.cluster;
            let until = deadline.min(started + DELETE_TIMEOUT);
            work.push(async move { (index, send(cluster, step, desired, force, until).await) });
        }
        if work.is_empty() {
            return Ok(());
        }
        reporter.progress(plan, &self.progress);
        let mut first_error = None;
        while let Some((index, result)) = work.next().await {
            let object = plan.steps[index].object.clone();
            self.progress[index] = match result {
                Ok(live) => {
                    self.applied.push((object, live));
                    Progress::Done(started.elapsed())
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                    Progress::Failed
                }
            };
            reporter.progress(plan, &self.progress);
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// Sends one object, once an object of its name that is being deleted is gone.
async fn send(
    cluster: &PinnedCluster,
    step: &Step,
    desired: &Desired,
    force: bool,
    until: Instant,
) -> Result<Value, ApplyError> {
    if let Some(deleting) = &step.deleting
        && !wait_until_gone(cluster, &step.object, &deleting.uid, until).await?
    {
        return Err(ApplyError::BeingDeleted {
            object: step.object.clone(),
            finalizers: deleting.finalizers.clone(),
        });
    }
    let sent = match step.autoscaler_replicas {
        Some(replicas) => apply_without_replicas(cluster, step, desired, force, replicas).await,
        None => cluster.apply(desired, force).await,
    };
    sent.map_err(ApplyError::at(&step.object))
}

/// Somebody else owns the number of replicas before it is left out, so that it stays. A Deployment
/// that is new begins with the least that the autoscaler allows.
async fn apply_without_replicas(
    cluster: &PinnedCluster,
    step: &Step,
    desired: &Desired,
    force: bool,
    replicas: i64,
) -> Result<Value, ApiError> {
    if step.uid.is_none() {
        cluster
            .apply(&desired.with_replicas(replicas), force)
            .await?;
    }
    cluster.hold_replicas(&step.object, replicas).await?;
    cluster.apply(desired, force).await
}
