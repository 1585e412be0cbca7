//! Waits for what was applied: the migration before anything new serves, the rollout after.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::DeleteOutcome;
use crate::desired::{Desired, Phase};
use crate::plan::Plan;
use crate::plan::condition::finalizers;
use crate::rollout::{FollowOutcome, Pending, follow, follow_job};

use super::phases::PhaseExecutor;
use super::{ApplyContext, ApplyError, Reporter};

/// How long an object that is being deleted may take to disappear: a load balancer's Service takes
/// its time.
pub(super) const DELETE_TIMEOUT: Duration = Duration::from_mins(1);

fn of_kind<'p>(plan: &'p Plan, kind: &'static str) -> impl Iterator<Item = &'p Desired> {
    plan.steps
        .iter()
        .filter_map(|step| step.desired.as_ref())
        .filter(move |desired| desired.kind.kind == kind)
}

/// Waits for the migration Jobs. One that failed in an earlier run is run again.
pub(super) async fn migrations(
    ctx: &ApplyContext<'_>,
    executor: &PhaseExecutor<'_>,
    deadline: Instant,
    reporter: &mut dyn Reporter,
) -> Result<(), ApplyError> {
    for desired in of_kind(executor.plan(), "Job").filter(|job| job.phase == Phase::Migration) {
        let object = desired.reference();
        if executor.applied(&object).is_none() {
            let live = ctx.cluster.read(&object).await?;
            let remembered = ctx.inventory.migrated.contains(&object.name);
            if live.as_ref().is_some_and(has_failed) {
                ctx.lease.check()?;
                rerun_job(ctx, desired, live.as_ref(), deadline).await?;
            } else if live.as_ref().is_some_and(is_complete) {
                if !remembered {
                    ctx.store.record_migrated(&object.name).await?;
                }
                continue;
            } else if remembered {
                // It came to its end, and was cleaned away since.
                continue;
            }
        }
        let name = object.name.as_str();
        let left = deadline.saturating_duration_since(Instant::now());
        let (ended, log) = follow_job(ctx.cluster, ctx.namespace, name, ctx.clock, left, |pods| {
            reporter.migration(name, pods);
        })
        .await?;
        match ended {
            FollowOutcome::Done => {
                ctx.store.record_migrated(name).await?;
                reporter.log(name, &log);
            }
            FollowOutcome::Failed(failure, log) => {
                reporter.log(failure.container.as_deref().unwrap_or(name), &log);
                return Err(ApplyError::Migration(failure));
            }
            FollowOutcome::TimedOut(pending, log) => {
                return Err(timed_out(ctx, &pending, &log, name, reporter));
            }
        }
    }
    Ok(())
}

/// Waits for every Deployment of the plan.
pub(super) async fn rollouts(
    ctx: &ApplyContext<'_>,
    plan: &Plan,
    deadline: Instant,
    reporter: &mut dyn Reporter,
) -> Result<(), ApplyError> {
    for desired in of_kind(plan, "Deployment") {
        let name = desired.reference().name;
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = follow(
            ctx.cluster,
            ctx.namespace,
            &name,
            ctx.clock,
            left,
            |rollout| {
                reporter.rollout(rollout);
            },
        )
        .await?;
        match ended {
            FollowOutcome::Done => {}
            FollowOutcome::Failed(failure, log) => {
                reporter.log(failure.container.as_deref().unwrap_or(&name), &log);
                return Err(ApplyError::Rollout(failure));
            }
            FollowOutcome::TimedOut(pending, log) => {
                return Err(timed_out(ctx, &pending, &log, &name, reporter));
            }
        }
    }
    Ok(())
}

fn timed_out(
    ctx: &ApplyContext<'_>,
    pending: &Pending,
    log: &[String],
    name: &str,
    reporter: &mut dyn Reporter,
) -> ApplyError {
    let lagging = pending.lagging.as_ref();
    let container = lagging.and_then(|lagging| lagging.container.as_deref());
    reporter.log(container.unwrap_or(name), log);
    ApplyError::TimedOut {
        after: ctx.options.timeout,
        waiting_for: pending.to_string(),
    }
}

/// A Job is immutable: to run again it must go and come back.
async fn rerun_job(
    ctx: &ApplyContext<'_>,
    desired: &Desired,
    live: Option<&Value>,
    deadline: Instant,
) -> Result<(), ApplyError> {
    let object = desired.reference();
    let Some(uid) = live.and_then(|live| live["metadata"]["uid"].as_str()) else {
        return Ok(());
    };
    if ctx.cluster.delete(&object, uid).await? == DeleteOutcome::Started {
        let until = deadline.min(Instant::now() + DELETE_TIMEOUT);
        if !super::prune::wait_until_gone(ctx.cluster, &object, uid, until).await? {
            let live = ctx.cluster.read(&object).await?;
            return Err(ApplyError::BeingDeleted {
                object,
                finalizers: live.as_ref().map(finalizers).unwrap_or_default(),
            });
        }
    }
    ctx.cluster
        .apply(desired, false)
        .await
        .map(drop)
        .map_err(|source| ApplyError::Object { object, source })
}

fn has_failed(job: &Value) -> bool {
    has_condition(job, "Failed")
}

fn is_complete(job: &Value) -> bool {
    has_condition(job, "Complete")
}

fn has_condition(job: &Value, kind: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    let mut all = conditions.into_iter().flatten();
    all.any(|condition| condition["type"] == kind && condition["status"] == "True")
}
