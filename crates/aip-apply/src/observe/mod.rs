//! Learns what an apply would do: the live object and a server-side dry run, with a way out for
//! every reason why the API server cannot answer.

mod claims;
mod refusal;
mod requirements;

use aip_stack::desired::{Desired, ObjectRef, Phase};
use futures_util::future::{join_all, try_join};
use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::Value;

use crate::cluster::{Answer, ApiError, GuardedCluster};
use crate::plan::limits::too_large;
use crate::plan::server_fields::merge_estimate;
use crate::plan::{Deleting, Fallback, Namespace, Observed, Proposed, Stale, fields};
use crate::store::{FieldSet, Inventory};

/// Observes every object at once. `inventory` knows what was applied the last time.
pub async fn desired_objects(
    cluster: &GuardedCluster,
    desired: Vec<Desired>,
    inventory: &Inventory,
    namespace_exists: bool,
) -> Result<Vec<(Desired, Observed)>, ApiError> {
    let scaled: Vec<(String, i64)> = desired.iter().filter_map(autoscaled).collect();
    let scaled = &scaled;
    let all = desired.into_iter().map(|desired| async move {
        let object = desired.object();
        let facts = ObjectFacts {
            applied: inventory
                .owned
                .iter()
                .find(|facts| facts.object.is_same_object(object))
                .map(|facts| facts.fields.clone()),
            // An autoscaler of somebody else counts, too: then one is the least.
            least: is_scaled_by_autoscaler(&desired).then(|| {
                let ours = scaled.iter().find(|(name, _)| *name == object.name);
                ours.map_or(1, |(_, least)| *least)
            }),
            finished: object.kind == "Job" && inventory.migrated.contains(&object.name),
        };
        let mut observed = if namespace_exists || object.namespace.is_none() {
            observe_one(cluster, &desired, facts).await?
        } else {
            observe_without_namespace(cluster, &desired, facts).await?
        };
        requirements::check(cluster, &desired, &mut observed).await?;
        Ok((desired, observed))
    });
    join_all(all).await.into_iter().collect()
}

/// What can be known of an object whose namespace does not exist yet: size, kind and rights.
async fn observe_without_namespace(
    cluster: &GuardedCluster,
    desired: &Desired,
    facts: ObjectFacts,
) -> Result<Observed, ApiError> {
    let proposed = if let Some(why) = too_large(desired.manifest()) {
        Proposed::Refused(why)
    } else if !cluster.serves_kind_of(desired.object()).await? {
        Proposed::Refused(refusal::unknown_kind(desired.object()))
    } else {
        let why = match cluster.can_i("patch", desired.object()).await {
            Ok(false) => Fallback::NoRight,
            Ok(true) => Fallback::NoNamespace,
            // Who may not even ask learns it from the apply.
            Err(error) if error.status().is_some_and(|status| status.code != 401) => {
                Fallback::NoNamespace
            }
            Err(error) => return Err(error),
        };
        Proposed::Estimate(desired.manifest().clone(), why)
    };
    Ok(Observed {
        applied: facts.applied,
        autoscaler_replicas: facts.least,
        ..Observed::new(None, proposed)
    })
}

async fn observe_one(
    cluster: &GuardedCluster,
    desired: &Desired,
    facts: ObjectFacts,
) -> Result<Observed, ApiError> {
    let object = desired.object();
    if let Some(why) = too_large(desired.manifest()) {
        let live = cluster.read(object).await?;
        return Ok(Observed {
            applied: facts.applied,
            ..Observed::new(live, Proposed::Refused(why))
        });
    }
    if facts.finished {
        let live = cluster.read(object).await?;
        // Its Pods have run: what the stack would give them now is no change, and none may be made.
        return Ok(Observed {
            applied: facts.applied,
            finished: true,
            ..Observed::new(live, Proposed::Server(desired.manifest().clone()))
        });
    }
    if let Some(least) = facts.least {
        return observe_scaled(cluster, desired, facts.applied, least).await;
    }
    // Both at once: a dry run does not change what the read sees.
    let dry_run = async { Ok(cluster.dry_run(desired, false).await) };
    let (live, answer) = try_join(cluster.read(object), dry_run).await?;
    interpret_dry_run(cluster, desired, facts.applied, live, answer).await
}

/// A Deployment whose replicas are an autoscaler's business. As long as they are ours they
/// have to be handed over, and a dry run that leaves them out would promise one Pod.
async fn observe_scaled(
    cluster: &GuardedCluster,
    desired: &Desired,
    applied: Option<FieldSet>,
    least: i64,
) -> Result<Observed, ApiError> {
    let live = cluster.read(desired.object()).await?;
    let there = live.as_ref().filter(|live| Deleting::of(live).is_none());
    let autoscaler_replicas = match there {
        None => Some(least),
        Some(live) if fields::paths(&fields::owned(live)).contains(fields::REPLICAS_PATH) => {
            let now = live["spec"]["replicas"].as_i64().unwrap_or(least);
            Some(now.max(least))
        }
        Some(_) => None,
    };
    let sent = match autoscaler_replicas {
        Some(replicas) => desired.with_replicas(replicas),
        None => desired.clone(),
    };
    let answer = cluster.dry_run(&sent, false).await;
    let observed = interpret_dry_run(cluster, &sent, applied, live, answer).await?;
    Ok(Observed {
        autoscaler_replicas,
        ..observed
    })
}

/// What follows from the answer to a dry run.
async fn interpret_dry_run(
    cluster: &GuardedCluster,
    desired: &Desired,
    applied: Option<FieldSet>,
    live: Option<Value>,
    answer: Result<Answer, ApiError>,
) -> Result<Observed, ApiError> {
    let refused = |error| refused(error, desired.object(), cluster.context());
    let (proposed, warnings) = match answer {
        Ok(Answer {
            value, warnings, ..
        }) => (Proposed::Server(value), warnings),
        Err(error) if error.is_conflict() && !conflicts(&error, None).is_empty() => {
            let conflicts = conflicts(&error, applied.as_ref());
            match cluster.dry_run(desired, true).await {
                Ok(Answer {
                    value, warnings, ..
                }) => (Proposed::Forced(value, conflicts), warnings),
                Err(error) => (refused(error)?, Vec::new()),
            }
        }
        Err(error) => match fallback(&error) {
            Some(why) => (estimate(live.as_ref(), desired, why), Vec::new()),
            None => (refused(error)?, Vec::new()),
        },
    };
    Ok(Observed {
        warnings,
        applied,
        ..Observed::new(live, proposed)
    })
}

/// Objects of the inventory that are not desired any more, with what is left of them, and the claims for
/// volumes that go or stay with them.
pub async fn stale_objects(
    cluster: &GuardedCluster,
    objects: Vec<ObjectRef>,
) -> Result<Vec<Stale>, ApiError> {
    let mut stale = read_all(cluster, objects).await?;
    // What a StatefulSet leaves behind is no part of the inventory yet.
    let mut claims: Vec<ObjectRef> = stale.iter().flat_map(claims::of).collect();
    claims.retain(|claim| !stale.iter().any(|known| known.object.is_same_object(claim)));
    stale.extend(read_all(cluster, claims).await?);
    Ok(stale)
}

async fn read_all(
    cluster: &GuardedCluster,
    objects: Vec<ObjectRef>,
) -> Result<Vec<Stale>, ApiError> {
    let all = objects.into_iter().map(|object| async move {
        let live = cluster.read(&object).await?;
        Ok(Stale { object, live })
    });
    join_all(all).await.into_iter().collect()
}

/// The namespace as it is, or what came of trying to create it. Who may not ask is taken to
/// work in one that exists.
pub async fn namespace(
    cluster: &GuardedCluster,
    name: &str,
) -> Result<ObservedNamespace, ApiError> {
    let desired = Desired::namespace(name);
    match cluster.read(desired.object()).await {
        Ok(Some(live)) => Ok(match Deleting::of(&live) {
            Some(deleting) => ObservedNamespace::Deleting(deleting),
            None => ObservedNamespace::Known(Namespace::Exists),
        }),
        Ok(None) => match cluster.dry_run(&desired, false).await {
            Ok(_) => Ok(ObservedNamespace::Known(Namespace::Created)),
            Err(error) if error.refuses_dry_runs().is_some() => {
                Ok(ObservedNamespace::Known(Namespace::Created))
            }
            Err(error) if error.status().is_some() => {
                let why = refusal::explain_refusal(&error, desired.object(), cluster.context());
                Ok(ObservedNamespace::Known(Namespace::Refused(why)))
            }
            Err(error) => Err(error),
        },
        Err(error) if error.lacks_right() => Ok(ObservedNamespace::Known(Namespace::Exists)),
        Err(error) => Err(error),
    }
}

/// The `ReplicaSet`s of a namespace: what a rollback can go back to.
pub async fn replica_sets(
    cluster: &GuardedCluster,
    namespace: &str,
) -> Result<Vec<Value>, ApiError> {
    let any = ObjectRef::of::<ReplicaSet>(Some(namespace), "");
    cluster.list(&any, None).await
}

/// What is known about an object beforehand.
struct ObjectFacts {
    applied: Option<FieldSet>,
    /// The least number of replicas, if an autoscaler chooses it.
    least: Option<i64>,
    /// It is a Job that completed, by the inventory.
    finished: bool,
}

/// A namespace, looked at before anything in it is.
pub enum ObservedNamespace {
    /// It is there, or it can or cannot be made.
    Known(Namespace),
    /// It is being deleted, and takes nothing new.
    Deleting(Deleting),
}

/// The name of the Deployment that an autoscaler scales, and the least it scales it to.
fn autoscaled(desired: &Desired) -> Option<(String, i64)> {
    if desired.object().kind != "HorizontalPodAutoscaler" {
        return None;
    }
    let spec = &desired.manifest()["spec"];
    let name = spec["scaleTargetRef"]["name"].as_str()?;
    Some((name.to_owned(), spec["minReplicas"].as_i64().unwrap_or(1)))
}

fn is_scaled_by_autoscaler(desired: &Desired) -> bool {
    desired.object().kind == "Deployment"
        && desired.phase() == Phase::Workload
        && desired.manifest()["spec"]["replicas"].is_null()
}

fn conflicts(error: &ApiError, applied: Option<&FieldSet>) -> Vec<fields::Conflict> {
    let details = error.status().and_then(|status| status.details.as_ref());
    let mut conflicts: Vec<fields::Conflict> = details
        .into_iter()
        .flat_map(|details| &details.causes)
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| fields::conflict(&cause.field, &cause.message, applied))
        .collect();
    conflicts.sort();
    conflicts
}

fn fallback(error: &ApiError) -> Option<Fallback> {
    if error.lacks_right() {
        return Some(Fallback::NoRight);
    }
    error
        .refuses_dry_runs()
        .map(|name| Fallback::Webhook(name.to_owned()))
}

fn estimate(live: Option<&Value>, desired: &Desired, why: Fallback) -> Proposed {
    let manifest = desired.manifest();
    let value = live.map_or_else(|| manifest.clone(), |live| merge_estimate(live, manifest));
    Proposed::Estimate(value, why)
}

/// A refusal belongs to the object; anything else ends the command.
fn refused(error: ApiError, object: &ObjectRef, context: &str) -> Result<Proposed, ApiError> {
    // Whom the API server does not know is refused everything; that is not about the object.
    if error.status().is_some_and(|status| status.code != 401) {
        Ok(Proposed::Refused(refusal::explain_refusal(
            &error, object, context,
        )))
    } else {
        Err(error)
    }
}
