//! A Deployment is done when the controller has seen its newest generation and every desired
//! replica is of the newest revision and available, with none of an older revision left. It has
//! failed when its Pods cannot get there by waiting longer: an image that does not exist, a
//! container that exits again and again, a quota, a Deployment that is paused or being deleted.
//! `verdict.rs` has the rules.

use futures_util::stream::SelectAll;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::watcher::Config;

use crate::rollout::cache::{Cache, WatchStream, best_effort, watch};
use crate::rollout::follow::Awaited;
use crate::rollout::model::Rollout;
use crate::rollout::verdict::{Verdict, judge};

#[derive(Default)]
pub(super) struct DeploymentWatch {
    deployments: Cache<Deployment>,
    replica_sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    events: Cache<Event>,
}

impl Awaited for DeploymentWatch {
    type View = Rollout;
    const KIND: &'static str = "Deployment";

    fn watches(client: &Client, namespace: &str, name: &str) -> SelectAll<WatchStream<Self>> {
        let all = Config::default();
        let by_name = all.clone().fields(&format!("metadata.name={name}"));
        let about_pods = all.clone().fields("involvedObject.kind=Pod");
        SelectAll::from_iter([
            watch(client, namespace, by_name, |at: &mut Self| {
                &mut at.deployments
            }),
            watch(client, namespace, all.clone(), |at: &mut Self| {
                &mut at.replica_sets
            }),
            watch(client, namespace, all, |at: &mut Self| &mut at.pods),
            best_effort(watch(client, namespace, about_pods, |at: &mut Self| {
                &mut at.events
            })),
        ])
    }

    /// Events may not be read by everybody, and no verdict needs them.
    fn is_complete(&self) -> bool {
        self.deployments.is_complete() && self.replica_sets.is_complete() && self.pods.is_complete()
    }

    fn view(&self, name: &str) -> Option<Rollout> {
        Some(Rollout::read(
            self.deployments.get(name)?,
            &self.replica_sets.all(),
            &self.pods.all(),
            &self.events.all(),
        ))
    }

    fn judge(view: &Rollout, now: Timestamp) -> Verdict {
        judge(view, now)
    }

    /// Its containers go on.
    fn logs_when_done(_: &Rollout) -> Vec<(String, String)> {
        Vec::new()
    }
}
