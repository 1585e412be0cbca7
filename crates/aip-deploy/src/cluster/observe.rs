//! Learns what an apply would do: the live object and a server-side dry run, with a way out for
//! every reason why the API server cannot answer.

use futures_util::future::{join_all, try_join};
use serde_json::Value;

use crate::desired::{Desired, ObjectRef};
use crate::guard::GuardedCluster;
use crate::plan::normal::overlay;
use crate::plan::{Fallback, Observed, Proposed, Stale, fields};
use crate::store::{FieldSet, Recorded};

use super::error::ApiError;
use super::request::Answer;

impl GuardedCluster {
    /// Observes every object at once. `recorded` is what was applied the last time.
    pub async fn observe(
        &self,
        desired: Vec<Desired>,
        recorded: &[Recorded],
        namespace_exists: bool,
    ) -> Result<Vec<(Desired, Observed)>, ApiError> {
        let all = desired.into_iter().map(|desired| async move {
            let object = desired.reference();
            let applied = recorded
                .iter()
                .find(|known| known.object.is_same_object(&object))
                .map(|known| known.fields.clone());
            let observed = if namespace_exists || object.namespace.is_none() {
                self.observe_one(&desired, &object, applied).await?
            } else {
                let proposed = Proposed::Estimate(desired.value(), Fallback::NoNamespace);
                Observed {
                    live: None,
                    proposed,
                    warnings: Vec::new(),
                    applied,
                }
            };
            Ok((desired, observed))
        });
        join_all(all).await.into_iter().collect()
    }

    async fn observe_one(
        &self,
        desired: &Desired,
        object: &ObjectRef,
        applied: Option<FieldSet>,
    ) -> Result<Observed, ApiError> {
        // Both at once: a dry run does not change what the read sees.
        let dry_run = async { Ok(self.dry_run(desired, false).await) };
        let (live, answer) = try_join(self.read(object), dry_run).await?;
        let (proposed, warnings) = match answer {
            Ok(Answer { value, warnings }) => (Proposed::Server(value), warnings),
            Err(error) if error.is_conflict() && !conflicts(&error, None).is_empty() => {
                let conflicts = conflicts(&error, applied.as_ref());
                match self.dry_run(desired, true).await {
                    Ok(Answer { value, warnings }) => {
                        (Proposed::Forced(value, conflicts), warnings)
                    }
                    Err(error) => (refused(error, object)?, Vec::new()),
                }
            }
            Err(error) => match fallback(&error) {
                Some(why) => (estimate(live.as_ref(), desired, why), Vec::new()),
                None => (refused(error, object)?, Vec::new()),
            },
        };
        Ok(Observed {
            live,
            proposed,
            warnings,
            applied,
        })
    }

    /// Objects of the inventory that are not desired any more, with what is left of them.
    pub async fn observe_stale(&self, objects: Vec<ObjectRef>) -> Result<Vec<Stale>, ApiError> {
        let all = objects.into_iter().map(|object| async move {
            let live = self.read(&object).await?;
            Ok(Stale { object, live })
        });
        join_all(all).await.into_iter().collect()
    }

    /// Whether the namespace exists. Who may not ask is taken to work in one that does.
    pub async fn has_namespace(&self, name: &str) -> Result<bool, ApiError> {
        match self.read(&namespace(name)).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.lacks_right() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The `ReplicaSet`s of a namespace: what a rollback can go back to.
    pub async fn replica_sets(&self, namespace: &str) -> Result<Vec<Value>, ApiError> {
        let like = ObjectRef {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            plural: "replicasets".to_owned(),
            namespace: Some(namespace.to_owned()),
            name: String::new(),
            logical_name: String::new(),
        };
        self.list(&like, None).await
    }
}

/// The namespace as an object.
pub(crate) fn namespace(name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        plural: "namespaces".to_owned(),
        namespace: None,
        name: name.to_owned(),
        logical_name: name.to_owned(),
    }
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
    let wanted = desired.value();
    let value = live.map_or_else(|| wanted.clone(), |live| overlay(live, &wanted));
    Proposed::Estimate(value, why)
}

/// A refusal belongs to the object; anything else ends the command.
fn refused(error: ApiError, object: &ObjectRef) -> Result<Proposed, ApiError> {
    if error.status().is_some() {
        Ok(Proposed::Refused(error.about(object)))
    } else {
        Err(error)
    }
}
