//! Deletes what the stack no longer wants: only objects of its own inventory, only the very object
//! that was seen, and no Secret that a `ReplicaSet` still refers to.

use std::time::Duration;

use aip_stack::desired::ObjectRef;
use tokio::time::Instant;

use crate::cluster::{DeleteOutcome, PinnedCluster};
use crate::observe::replica_sets;
use crate::plan::condition::finalizers;
use crate::plan::{Op, Plan, Step, references};

use super::{ApplyContext, ApplyError, FailPoint, FailPoints, LeaseRenewer};

/// How long an object that is being deleted may take to disappear: a load balancer's Service takes
/// its time.
pub(super) const DELETE_TIMEOUT: Duration = Duration::from_mins(1);

/// How often it is looked whether an object is gone.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Deletes what has to go and returns what stays although it is not wanted.
pub(super) async fn prune(
    ctx: &ApplyContext<'_>,
    plan: &Plan,
) -> Result<Vec<ObjectRef>, ApplyError> {
    let stale: Vec<&Step> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.op, Op::Delete | Op::Retain | Op::Prune))
        .collect();
    let protected = plan.steps.iter().filter(|step| step.op == Op::Protect);
    let mut kept: Vec<ObjectRef> = protected.map(|step| step.object.clone()).collect();
    if stale.is_empty() {
        return Ok(kept);
    }
    // Looked up again: the rollout just changed it.
    let referred = references::secrets_of(&replica_sets(ctx.cluster, ctx.namespace).await?);
    for step in stale {
        let needed = step.object.kind == "Secret" && referred.contains(&step.object.name);
        match &step.uid {
            Some(uid) if !needed => {
                ctx.lease.check()?;
                delete(ctx.cluster, &step.object, uid).await?;
            }
            _ => kept.push(step.object.clone()),
        }
    }
    Ok(kept)
}

/// Deletes the autoscalers that the stack no longer wants before the number of replicas is set:
/// they would set it again.
pub(super) async fn release_autoscalers(
    ctx: &ApplyContext<'_>,
    plan: &Plan,
    deadline: Instant,
) -> Result<(), ApplyError> {
    let to_delete = plan
        .steps
        .iter()
        .filter(|step| step.op == Op::Delete && step.object.kind == "HorizontalPodAutoscaler");
    for step in to_delete {
        if let Some(uid) = &step.uid {
            ctx.lease.check()?;
            delete(ctx.cluster, &step.object, uid).await?;
            let until = deadline.min(Instant::now() + DELETE_TIMEOUT);
            wait_until_gone(ctx.cluster, &step.object, uid, until).await?;
        }
    }
    Ok(())
}

/// An object that is still there, and what keeps it.
pub struct RemainingObject {
    /// API version, kind, namespace and name.
    pub object: ObjectRef,
    /// Its `metadata.finalizers`.
    pub finalizers: Vec<String>,
}

/// Deletes every object of a plan that wants nothing any more, apart from protected ones, and returns
/// those that are not gone by the deadline.
pub async fn delete_all(
    cluster: &PinnedCluster,
    lease: &LeaseRenewer,
    fail_points: &dyn FailPoints,
    plan: &Plan,
    deadline: Instant,
) -> Result<Vec<RemainingObject>, ApplyError> {
    let to_delete: Vec<(&ObjectRef, &String)> = plan
        .steps
        .iter()
        .filter(|step| step.op != Op::Protect)
        .filter_map(|step| Some((&step.object, step.uid.as_ref()?)))
        .collect();
    for (object, uid) in &to_delete {
        lease.check()?;
        delete(cluster, object, uid).await?;
    }
    fail_points.reached(FailPoint::DeletionStarted).await;
    let mut left = Vec::new();
    for (object, uid) in to_delete {
        if !wait_until_gone(cluster, object, uid, deadline).await? {
            let live = cluster.read(object).await?;
            left.push(RemainingObject {
                object: object.clone(),
                finalizers: live.as_ref().map(finalizers).unwrap_or_default(),
            });
        }
    }
    fail_points.reached(FailPoint::DeletionCompleted).await;
    Ok(left)
}

async fn delete(
    cluster: &PinnedCluster,
    object: &ObjectRef,
    uid: &str,
) -> Result<DeleteOutcome, ApplyError> {
    let deleted = cluster.delete(object, uid).await;
    deleted.map_err(ApplyError::at(object))
}

/// Whether the object is gone by the deadline.
pub(super) async fn wait_until_gone(
    cluster: &PinnedCluster,
    object: &ObjectRef,
    uid: &str,
    deadline: Instant,
) -> Result<bool, ApplyError> {
    loop {
        let live = cluster.read(object).await?;
        if live.is_none_or(|live| live["metadata"]["uid"] != uid) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
