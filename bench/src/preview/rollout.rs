//! A second pair of eyes on a rollout: a watch of its own on the API server says how long the
//! cluster itself took.

use std::fmt::Debug;
use std::pin::pin;

use anyhow::{Context as _, Result, bail};
use futures_util::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// Sees what happens from one moment on.
pub(super) struct Watcher {
    deployments: Api<Deployment>,
    jobs: Api<Job>,
    /// The state before: of the list, and of the one Deployment's intent.
    version: String,
    generation: i64,
}

/// How long the cluster took, in milliseconds.
pub(super) struct RolloutTimes {
    /// From the new Job to its completion.
    pub(super) migration: f64,
    /// From the change of the Deployment to its completion.
    pub(super) rollout: f64,
}

impl Watcher {
    /// Sees what happens from now on.
    pub(super) async fn before(client: &Client, namespace: &str) -> Result<Self> {
        let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
        let list = deployments.list(&ListParams::default()).await?;
        let [deployment] = list.items.as_slice() else {
            bail!("not one Deployment but {}", list.items.len());
        };
        Ok(Self {
            generation: generation(deployment),
            version: list.metadata.resource_version.context("no version")?,
            jobs: Api::namespaced(client.clone(), namespace),
            deployments,
        })
    }

    /// Watches the next deployment to its end.
    pub(super) async fn watch(self) -> Result<RolloutTimes> {
        let migration = duration(
            &self.jobs,
            &self.version,
            |job| !is_complete(job),
            is_complete,
        );
        let rollout = duration(
            &self.deployments,
            &self.version,
            |deployment| generation(deployment) > self.generation,
            is_rolled_out,
        );
        let (migration, rollout) = tokio::try_join!(migration, rollout)?;
        Ok(RolloutTimes { migration, rollout })
    }
}

/// The time between the first object that has begun and the next that has ended.
async fn duration<K>(
    api: &Api<K>,
    version: &str,
    has_begun: impl Fn(&K) -> bool,
    has_ended: impl Fn(&K) -> bool,
) -> Result<f64>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut events = pin!(api.watch(&WatchParams::default(), version).await?);
    let mut began = None;
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => match began {
                None if has_begun(&object) => began = Some(Instant::now()),
                Some(began) if has_ended(&object) => {
                    return Ok(Instant::elapsed(&began).as_secs_f64() * 1000.0);
                }
                None | Some(_) => {}
            },
            WatchEvent::Error(error) => return Err(error).context("the watch ended"),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    bail!("the watch ended before the rollout")
}

fn generation(deployment: &Deployment) -> i64 {
    deployment.metadata.generation.unwrap_or_default()
}

fn is_complete(job: &Job) -> bool {
    let status = job.status.iter();
    let mut conditions = status.flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Complete" && condition.status == "True")
}

/// The rule of `kubectl rollout status`.
fn is_rolled_out(deployment: &Deployment) -> bool {
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas == desired
            && status.replicas == desired
            && status.available_replicas == desired
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;

    fn deployment(status: &Value) -> Deployment {
        from_value(json!({
            "metadata": {"generation": 2},
            "spec": {"replicas": 3, "selector": {}, "template": {}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_rollout_ends_when_only_new_pods_are_left_and_all_are_available() {
        let done = json!({
            "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
        });
        assert!(is_rolled_out(&deployment(&done)));
        for (field, value) in [
            ("observedGeneration", 1),
            ("replicas", 4),
            ("updatedReplicas", 2),
            ("availableReplicas", 2),
        ] {
            let mut status = done.clone();
            status[field] = value.into();
            assert!(!is_rolled_out(&deployment(&status)), "{field}");
        }
    }
}
