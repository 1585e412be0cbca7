//! Deletes what the stack no longer wants: only objects of its own inventory, only the very object
//! that was seen, and no Secret that a `ReplicaSet` still refers to.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Deletion;
use crate::desired::ObjectRef;
use crate::guard::PinnedCluster;
use crate::plan::condition::finalizers;
use crate::plan::{Op, Plan, Step, references};

use super::{ApplyError, LeaseKeeper, Run};

/// How often it is looked whether an object is gone.
const LOOK: Duration = Duration::from_millis(250);

/// Deletes what has to go and returns what stays although it is not wanted.
pub(super) async fn prune(run: &Run<'_>, plan: &Plan) -> Result<Vec<ObjectRef>, ApplyError> {
    let stale: Vec<&Step> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.op, Op::Delete | Op::Retain | Op::Prune))
        .collect();
    if stale.is_empty() {
        return Ok(Vec::new());
    }
    // Looked up again: the rollout just changed it.
    let referred = references::secrets_of(&run.cluster.replica_sets(run.namespace).await?);
    let mut kept = Vec::new();
    for step in stale {
        let needed = step.object.kind == "Secret" && referred.contains(&step.object.name);
        match &step.uid {
            Some(uid) if !needed => {
                run.lease.check()?;
                delete(run.cluster, &step.object, uid).await?;
            }
            _ => kept.push(step.object.clone()),
        }
    }
    Ok(kept)
}

/// Deletes the autoscalers that the stack no longer wants before the number of replicas is set:
/// they would set it again.
pub(super) async fn release_autoscalers(
    run: &Run<'_>,
    plan: &Plan,
    deadline: Instant,
) -> Result<(), ApplyError> {
    let doomed = plan
        .steps
        .iter()
        .filter(|step| step.op == Op::Delete && step.object.kind == "HorizontalPodAutoscaler");
    for step in doomed {
        if let Some(uid) = &step.uid {
            run.lease.check()?;
            delete(run.cluster, &step.object, uid).await?;
            let until = deadline.min(Instant::now() + super::wait::DISAPPEARANCE);
            wait_until_gone(run.cluster, &step.object, uid, until).await?;
        }
    }
    Ok(())
}

/// An object that is still there, and what keeps it.
pub struct Left {
    /// Which.
    pub object: ObjectRef,
    /// Its finalizers.
    pub finalizers: Vec<String>,
}

/// Deletes every object of a plan that wants nothing any more, and returns those that are not gone
/// by the deadline.
pub async fn delete_all(
    cluster: &PinnedCluster,
    lease: &LeaseKeeper,
    plan: &Plan,
    deadline: Instant,
) -> Result<Vec<Left>, ApplyError> {
    let doomed: Vec<(&ObjectRef, &String)> = plan
        .steps
        .iter()
        .filter_map(|step| Some((&step.object, step.uid.as_ref()?)))
        .collect();
    for (object, uid) in &doomed {
        lease.check()?;
        delete(cluster, object, uid).await?;
    }
    let mut left = Vec::new();
    for (object, uid) in doomed {
        if !wait_until_gone(cluster, object, uid, deadline).await? {
            let live = cluster.read(object).await?;
            left.push(Left {
                object: object.clone(),
                finalizers: live.as_ref().map(finalizers).unwrap_or_default(),
            });
        }
    }
    Ok(left)
}

async fn delete(
    cluster: &PinnedCluster,
    object: &ObjectRef,
    uid: &str,
) -> Result<Deletion, ApplyError> {
    cluster
        .delete(object, uid)
        .await
        .map_err(|source| ApplyError::Object {
            object: object.clone(),
            source,
        })
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
        tokio::time::sleep(LOOK).await;
    }
}
