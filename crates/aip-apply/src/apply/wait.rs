//! Waits for what was applied, phase by phase: the migration before anything new serves, the rollout
//! after.

use aip_stack::desired::{Desired, MOVE_JOB, Phase, REKEY_JOB};
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::DeleteOutcome;
use crate::plan::condition::finalizers;
use crate::rollout::{AwaitedKind, FollowOutcome, Following};

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
        let migrates = phase == Phase::Migration;
        // Nothing new may serve before a migration is done, whether the operator waits or not, and a
        // migration needs its database.
        let is_awaited = match phase {
            Phase::Migration => must_run(ctx, executor, desired, deadline).await?,
            Phase::Dependency => true,
            Phase::Foundation | Phase::Workload => ctx.options.wait,
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
        let followed = kind.follow(following, name, |view| reporter.awaited(view));
        let followed = followed.await?;
        reporter.log(followed.container().unwrap_or(name), &followed.log);
        match followed.outcome {
            FollowOutcome::Done if migrates => ctx.store.record_migrated(name).await?,
            FollowOutcome::Done => {}
            FollowOutcome::Failed(failure) if desired.object().logical_name == REKEY_JOB => {
                return Err(ApplyError::Rekey(failure));
            }
            FollowOutcome::Failed(failure) if desired.object().logical_name == MOVE_JOB => {
                return Err(ApplyError::DatabaseMove(failure));
            }
            FollowOutcome::Failed(failure) if migrates => {
                return Err(ApplyError::Migration(failure));
            }
            FollowOutcome::Failed(failure) if phase == Phase::Dependency => {
                return Err(ApplyError::Dependency(failure));
            }
            FollowOutcome::Failed(failure) => return Err(ApplyError::Rollout(failure)),
            FollowOutcome::TimedOut(pending) => {
                return Err(ApplyError::TimedOut {
                    after: ctx.options.timeout,
                    waiting_for: pending.to_string(),
                });
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
    match live {
        Some(live) if has_condition(&live, "Failed") => {
            ctx.lease.check()?;
            rerun_job(ctx, desired, &live, deadline).await?;
            Ok(true)
        }
        Some(live) if has_condition(&live, "Complete") => {
            if !remembered {
                ctx.store.record_migrated(&object.name).await?;
            }
            Ok(false)
        }
        // One that is remembered came to its end, and was cleaned away since.
        _ => Ok(!remembered),
    }
}

/// A Job is immutable: to run again it must go and come back.
async fn rerun_job(
    ctx: &ApplyContext<'_>,
    desired: &Desired,
    live: &Value,
    deadline: Instant,
) -> Result<(), ApplyError> {
    let object = desired.object();
    let Some(uid) = live["metadata"]["uid"].as_str() else {
        return Ok(());
    };
    if ctx.cluster.delete(object, uid).await? == DeleteOutcome::Started {
        let until = deadline.min(Instant::now() + DELETE_TIMEOUT);
        if !wait_until_gone(ctx.cluster, object, uid, until).await? {
            let live = ctx.cluster.read(object).await?;
            return Err(ApplyError::BeingDeleted {
                object: object.clone(),
                finalizers: live.as_ref().map(finalizers).unwrap_or_default(),
            });
        }
    }
    let applied = ctx.cluster.apply(desired, false).await;
    applied.map(drop).map_err(ApplyError::at(object))
}

fn has_condition(job: &Value, kind: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    let mut all = conditions.into_iter().flatten();
    all.any(|condition| condition["type"] == kind && condition["status"] == "True")
}
