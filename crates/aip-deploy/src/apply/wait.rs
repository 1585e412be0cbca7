//! Waits for what was applied: the migration before anything new serves, the rollout after.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::Deletion;
use crate::desired::{Desired, Phase};
use crate::plan::Plan;
use crate::rollout::{Ended, follow, follow_job};

use super::stages::Stages;
use super::{ApplyError, Reporter, Run};

/// How long a failed Job of an earlier run may take to disappear.
const DISAPPEARANCE: Duration = Duration::from_mins(1);

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
            if live.as_ref().is_some_and(has_failed) {
                run.lease.check()?;
                repeat(run, desired, live.as_ref(), deadline).await?;
            } else if live.as_ref().is_some_and(is_complete) {
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
            Ended::Done => reporter.log(name, &log),
            Ended::Failed(failure, log) => {
                reporter.log(failure.container.as_deref().unwrap_or(name), &log);
                return Err(ApplyError::Migration(failure));
            }
            Ended::TimedOut(waiting_for) => return Err(timed_out(run, waiting_for)),
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
            Ended::TimedOut(waiting_for) => return Err(timed_out(run, waiting_for)),
        }
    }
    Ok(())
}

fn timed_out(run: &Run<'_>, waiting_for: String) -> ApplyError {
    ApplyError::TimedOut {
        after: run.options.timeout,
        waiting_for,
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
        super::prune::wait_until_gone(run.cluster, &object, uid, until).await?;
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
