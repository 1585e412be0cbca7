//! Waits for what was applied: the migration before anything new serves, the rollout after.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::Deletion;
use crate::desired::{Desired, Phase};
use crate::plan::Plan;
use crate::plan::condition::finalizers;
use crate::rollout::{Ended, Pending, follow, follow_job};

use super::stages::Stages;
use super::{ApplyError, Reporter, Run};

/// How long an object that is being deleted may take to disappear: a load balancer's Service takes
/// its time.
pub(super) const DISAPPEARANCE: Duration = Duration::from_mins(1);

fn of_kind<'p>(plan: &'p Plan, kind: &'static str) -> impl Iterator<Item = &'p Desired> {
    plan.steps
        .iter()
        .filter_map(|step| step.desired.as_ref())
        .filter(move |desired| desired.kind.kind == kind)
}

/// Waits for the migration Jobs. One that failed in an earlier run is run again.
pub(super) async fn migrations(
    run: &Run<'_>,
    stages: &Stages<'_>,
    deadline: Instant,
    reporter: &mut dyn Reporter,
) -> Result<(), ApplyError> {
    for desired in of_kind(stages.plan(), "Job").filter(|job| job.phase == Phase::Migration) {
        let object = desired.reference();
        if stages.applied(&object).is_none() {
            let live = run.cluster.read(&object).await?;
            let remembered = run.inventory.migrated.contains(&object.name);
            if live.as_ref().is_some_and(has_failed) {
                run.lease.check()?;
                repeat(run, desired, live.as_ref(), deadline).await?;
            } else if live.as_ref().is_some_and(is_complete) {
                if !remembered {
                    run.store.record_migrated(&object.name).await?;
                }
                continue;
            } else if remembered {
                // It came to its end, and was cleaned away since.
                continue;
            }
        }
        let name = object.name.as_str();
        let left = deadline.saturating_duration_since(Instant::now());
        let (ended, log) = follow_job(run.cluster, run.namespace, name, run.clock, left, |pods| {
            reporter.migration(name, pods);
        })
        .await?;
        match ended {
            Ended::Done => {
                run.store.record_migrated(name).await?;
                reporter.log(name, &log);
            }
            Ended::Failed(failure, log) => {
                reporter.log(failure.container.as_deref().unwrap_or(name), &log);
                return Err(ApplyError::Migration(failure));
            }
            Ended::TimedOut(pending, log) => {
                return Err(timed_out(run, &pending, &log, name, reporter));
            }
        }
    }
    Ok(())
}

/// Waits for every Deployment of the plan.
pub(super) async fn rollouts(
    run: &Run<'_>,
    plan: &Plan,
    deadline: Instant,
    reporter: &mut dyn Reporter,
) -> Result<(), ApplyError> {
    for desired in of_kind(plan, "Deployment") {
        let name = desired.reference().name;
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = follow(
            run.cluster,
            run.namespace,
            &name,
            run.clock,
            left,
            |rollout| {
                reporter.rollout(rollout);
            },
        )
        .await?;
        match ended {
            Ended::Done => {}
            Ended::Failed(failure, log) => {
                reporter.log(failure.container.as_deref().unwrap_or(&name), &log);
                return Err(ApplyError::Rollout(failure));
            }
            Ended::TimedOut(pending, log) => {
                return Err(timed_out(run, &pending, &log, &name, reporter));
            }
        }
    }
    Ok(())
}

fn timed_out(
    run: &Run<'_>,
    pending: &Pending,
    log: &[String],
    name: &str,
    reporter: &mut dyn Reporter,
) -> ApplyError {
    let behind = pending.behind.as_ref();
    let container = behind.and_then(|behind| behind.container.as_deref());
    reporter.log(container.unwrap_or(name), log);
    ApplyError::TimedOut {
        after: run.options.timeout,
        waiting_for: pending.to_string(),
    }
}

/// A Job is immutable: to run again it must go and come back.
async fn repeat(
    run: &Run<'_>,
    desired: &Desired,
    live: Option<&Value>,
    deadline: Instant,
) -> Result<(), ApplyError> {
    let object = desired.reference();
    let Some(uid) = live.and_then(|live| live["metadata"]["uid"].as_str()) else {
        return Ok(());
    };
    if run.cluster.delete(&object, uid).await? == Deletion::Begun {
        let until = deadline.min(Instant::now() + DISAPPEARANCE);
        if !super::prune::wait_until_gone(run.cluster, &object, uid, until).await? {
            let live = run.cluster.read(&object).await?;
            return Err(ApplyError::BeingDeleted {
                object,
                finalizers: live.as_ref().map(finalizers).unwrap_or_default(),
            });
        }
    }
    run.cluster
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
