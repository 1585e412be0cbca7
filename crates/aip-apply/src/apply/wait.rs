//! Waits for what was applied, phase by phase: the migration before anything new serves, the rollout
//! after.

use aip_stack::desired::{Desired, Phase};
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::DeleteOutcome;
use crate::plan::condition::finalizers;
use crate::rollout::{AwaitedKind, FollowOutcome, Following, Pending};

use super::phases::PhaseExecutor;
use super::prune::{DELETE_TIMEOUT, wait_until_gone};
use super::{ApplyContext, ApplyError, Reporter};

/// Waits for every object of the phase whose kind is waited for.
pub(super) async fn phase(
    ctx: &ApplyContext<'_>,
    executor: &PhaseExecutor<'_>,
    phase: Phase,
    deadline: Instant,
    reporter: &mut dyn Reporter,
) -> Result<(), ApplyError> {
    let steps = executor.plan().steps.iter();
    let desired = steps.filter_map(|step| step.desired.as_ref());
    for desired in desired.filter(|desired| desired.phase() == phase) {
        let Some(kind) = AwaitedKind::of(desired.object()) else {
            continue;
        };
        let is_awaited = match kind {
            AwaitedKind::Deployment => ctx.options.wait,
            // Nothing new may serve before it is done, whether the operator waits or not.
            AwaitedKind::Job => must_run(ctx, executor, desired, deadline).await?,
        };
        if !is_awaited {
            continue;
        }
        let name = desired.object().name.as_str();
        let following = Following {
            cluster: ctx.cluster,
            namespace: ctx.namespace,
            clock: ctx.clock,
            timeout: deadline.saturating_duration_since(Instant::now()),
        };
        let outcome = kind.follow(following, name, |view| reporter.awaited(view));
        match outcome.await? {
            FollowOutcome::Done(log) => {
                if kind == AwaitedKind::Job {
                    ctx.store.record_migrated(name).await?;
                }
                reporter.log(name, &log);
            }
            FollowOutcome::Failed(failure, log) => {
                reporter.log(failure.container.as_deref().unwrap_or(name), &log);
                return Err(match kind {
                    AwaitedKind::Deployment => ApplyError::Rollout(failure),
                    AwaitedKind::Job => ApplyError::Migration(failure),
                });
            }
            FollowOutcome::TimedOut(pending, log) => {
                return Err(timed_out(ctx, &pending, &log, name, reporter));
            }
        }
    }
    Ok(())
}

/// Whether a migration Job has yet to come to its end. One that failed in an earlier run is begun
/// again.
async fn must_run(
    ctx: &ApplyContext<'_>,
    executor: &PhaseExecutor<'_>,
    desired: &Desired,
    deadline: Instant,
) -> Result<bool, ApplyError> {
    let object = desired.object();
    if executor.applied(object).is_some() {
        return Ok(true);
    }
    let live = ctx.cluster.read(object).await?;
    let remembered = ctx.inventory.migrated.contains(&object.name);
    if live.as_ref().is_some_and(has_failed) {
        ctx.lease.check()?;
        rerun_job(ctx, desired, live.as_ref(), deadline).await?;
        Ok(true)
    } else if live.as_ref().is_some_and(is_complete) {
        if !remembered {
            ctx.store.record_migrated(&object.name).await?;
        }
        Ok(false)
    } else {
        // One that is remembered came to its end, and was cleaned away since.
        Ok(!remembered)
    }
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
    let object = desired.object().clone();
    let Some(uid) = live.and_then(|live| live["metadata"]["uid"].as_str()) else {
        return Ok(());
    };
    if ctx.cluster.delete(&object, uid).await? == DeleteOutcome::Started {
        let until = deadline.min(Instant::now() + DELETE_TIMEOUT);
        if !wait_until_gone(ctx.cluster, &object, uid, until).await? {
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
