//! Deletes what the stack no longer wants: objects of its own inventory, and of claims for volumes, which are
//! found by the name of their `StatefulSet`, those that the user names; only the very object that was seen;
//! no protected object, and no Secret that a `ReplicaSet` still refers to.

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

/// What is still there after a prune.
#[derive(Default)]
pub(super) struct PruneOutcome {
    /// Objects that stay although the stack does not want them: protected ones, and Secrets that a
    /// `ReplicaSet` refers to.
    pub kept: Vec<ObjectRef>,
    /// Objects whose deletion did not end in time.
    pub remaining: Vec<RemainingObject>,
}

/// Deletes what has to go, and waits until it is gone if the run waits at all: an API server still
/// lists an object until its finalizers are removed, which the garbage collector does some time
/// after a foreground deletion.
pub(super) async fn prune(
    ctx: &ApplyContext<'_>,
    plan: &Plan,
    deadline: Instant,
) -> Result<PruneOutcome, ApplyError> {
    let stale: Vec<&Step> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.op, Op::Delete | Op::Retain | Op::Prune))
        .collect();
    let protected = plan.steps.iter().filter(|step| step.op == Op::Protect);
    let mut outcome = PruneOutcome {
        kept: protected.map(|step| step.object.clone()).collect(),
        remaining: Vec::new(),
    };
    if stale.is_empty() {
        return Ok(outcome);
    }
    // Looked up again: the rollout just changed it.
    let referred = references::secrets_of(&replica_sets(ctx.cluster, ctx.namespace).await?);
    let mut deleted = Vec::new();
    for step in stale {
        let needed = step.object.kind == "Secret" && referred.contains(&step.object.name);
        match &step.uid {
            Some(uid) if !needed => {
                ctx.lease.check()?;
                delete(ctx.cluster, &step.object, uid).await?;
                deleted.push((&step.object, uid));
            }
            _ => outcome.kept.push(step.object.clone()),
        }
    }
    if ctx.options.wait {
        let until = deadline.min(Instant::now() + DELETE_TIMEOUT);
        outcome.remaining = wait_until_all_gone(ctx.cluster, &deleted, until).await?;
    }
    Ok(outcome)
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
            let deleted = [(&step.object, uid)];
            let remaining = wait_until_all_gone(ctx.cluster, &deleted, until).await?;
            if let Some(remaining) = remaining.into_iter().next() {
                return Err(remaining.into());
            }
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

impl From<RemainingObject> for ApplyError {
    fn from(RemainingObject { object, finalizers }: RemainingObject) -> Self {
        Self::BeingDeleted { object, finalizers }
    }
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
    let remaining = wait_until_all_gone(cluster, &to_delete, deadline).await?;
    fail_points.reached(FailPoint::DeletionCompleted).await;
    Ok(remaining)
}

/// Those of the deleted objects that are not gone by the deadline.
async fn wait_until_all_gone(
    cluster: &PinnedCluster,
    deleted: &[(&ObjectRef, &String)],
    deadline: Instant,
) -> Result<Vec<RemainingObject>, ApplyError> {
    let mut remaining = Vec::new();
    for (object, uid) in deleted {
        if !wait_until_gone(cluster, object, uid, deadline).await? {
            let live = cluster.read(object).await?;
            remaining.push(RemainingObject {
                object: (*object).clone(),
                finalizers: live.as_ref().map(finalizers).unwrap_or_default(),
            });
        }
    }
    Ok(remaining)
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
