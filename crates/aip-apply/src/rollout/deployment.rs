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
use kube::runtime::watcher;

use super::cache::{Cache, WatchStream, best_effort, watch};
use super::follow::Awaited;
use super::model::Rollout;
use super::verdict::{Verdict, judge};

pub(super) enum WatchEvent {
    Deployment(Box<watcher::Event<Deployment>>),
    ReplicaSet(Box<watcher::Event<ReplicaSet>>),
    Pod(Box<watcher::Event<Pod>>),
    Event(Box<watcher::Event<Event>>),
}

#[derive(Default)]
pub(super) struct DeploymentWatch {
    deployments: Cache<Deployment>,
    replica_sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    events: Cache<Event>,
}

impl Awaited for DeploymentWatch {
    type Event = WatchEvent;
    type View = Rollout;
    const KIND: &'static str = "Deployment";

    fn watches(client: &Client, namespace: &str, name: &str) -> SelectAll<WatchStream<WatchEvent>> {
        let all = watcher::Config::default();
        let by_name = all.clone().fields(&format!("metadata.name={name}"));
        let about_pods = all.clone().fields("involvedObject.kind=Pod");
        let mut watches = SelectAll::new();
        watches.push(watch(client, namespace, by_name, |event| {
            WatchEvent::Deployment(Box::new(event))
        }));
        watches.push(watch(client, namespace, all.clone(), |event| {
            WatchEvent::ReplicaSet(Box::new(event))
        }));
        watches.push(watch(client, namespace, all, |event| {
            WatchEvent::Pod(Box::new(event))
        }));
        watches.push(best_effort(watch(client, namespace, about_pods, |event| {
            WatchEvent::Event(Box::new(event))
        })));
        watches
    }

    fn observe(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Deployment(event) => self.deployments.observe(*event),
            WatchEvent::ReplicaSet(event) => self.replica_sets.observe(*event),
            WatchEvent::Pod(event) => self.pods.observe(*event),
            WatchEvent::Event(event) => self.events.observe(*event),
        }
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
