//! What the servers of the stack have in common: a controller that reports in the status of the object, Pods and
//! volumes that carry a label with its name. `rollout/dependency.rs` has the rules.

use std::marker::PhantomData;

use futures_util::stream::SelectAll;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::watcher::Config;
use serde_json::Value;
use tokio::time::Instant;

use crate::plan::condition::{Deleting, finalizers};
use crate::rollout::cache::{Cache, WatchStream, best_effort, watch, watch_by};
use crate::rollout::dependency::{
    ClaimView, DependencyState, DependencyView, PROVISIONING_GRACE, judge_dependency,
};
use crate::rollout::follow::Awaited;
use crate::rollout::pod_view::PodView;
use crate::rollout::verdict::Verdict;

/// A kind of server.
pub(super) trait Dependency: Default + 'static {
    /// As the API names it.
    const KIND: &'static str;
    /// The label of its Pods and volumes, whose value is its name.
    const LABEL: &'static str;

    /// Where the API server serves it.
    fn resource() -> ApiResource;

    /// What its controller says of a live object.
    fn state(live: &Value) -> DependencyState;

    /// Whether a Pod is made from the object as it is now. What is wrong with one of before, the controller
    /// is about to mend by replacing it.
    fn is_current(live: &Value, pod: &Pod) -> bool;
}

/// Follows one server.
pub(super) struct DependencyWatch<D> {
    objects: Cache<DynamicObject>,
    pods: Cache<Pod>,
    claims: Cache<PersistentVolumeClaim>,
    about_pods: Cache<Event>,
    about_claims: Cache<Event>,
    since: Instant,
    kind: PhantomData<D>,
}

impl<D> Default for DependencyWatch<D> {
    fn default() -> Self {
        Self {
            objects: Cache::default(),
            pods: Cache::default(),
            claims: Cache::default(),
            about_pods: Cache::default(),
            about_claims: Cache::default(),
            since: Instant::now(),
            kind: PhantomData,
        }
    }
}

impl<D: Dependency> Awaited for DependencyWatch<D> {
    type View = DependencyView;
    const KIND: &'static str = D::KIND;

    fn watches(client: &Client, namespace: &str, name: &str) -> SelectAll<WatchStream<Self>> {
        let api = Api::namespaced_with(client.clone(), namespace, &D::resource());
        let all = Config::default();
        let by_name = all.clone().fields(&format!("metadata.name={name}"));
        let of_server = all.clone().labels(&format!("{}={name}", D::LABEL));
        let about = |kind: &str| all.clone().fields(&format!("involvedObject.kind={kind}"));
        SelectAll::from_iter([
            watch_by(api, by_name, |at: &mut Self| &mut at.objects),
            watch(client, namespace, of_server.clone(), |at: &mut Self| {
                &mut at.pods
            }),
            best_effort(watch(client, namespace, of_server, |at: &mut Self| {
                &mut at.claims
            })),
            best_effort(watch(client, namespace, about("Pod"), |at: &mut Self| {
                &mut at.about_pods
            })),
            best_effort(watch(
                client,
                namespace,
                about("PersistentVolumeClaim"),
                |at: &mut Self| &mut at.about_claims,
            )),
        ])
    }

    /// Volumes and events may not be read by everybody; without them a failure has no reason, and a time-out
    /// ends the wait.
    fn is_complete(&self) -> bool {
        self.objects.is_complete() && self.pods.is_complete()
    }

    fn view(&self, name: &str) -> Option<DependencyView> {
        // An object that was read from JSON can be written as JSON.
        let live = serde_json::to_value(self.objects.get(name)?).ok()?;
        let about_pods = self.about_pods.all();
        let about_claims = self.about_claims.all();
        Some(DependencyView {
            kind: D::KIND,
            name: name.to_owned(),
            deleting: Deleting::of(&live).map(|_| finalizers(&live)),
            state: D::state(&live),
            settled: self.since.elapsed() >= PROVISIONING_GRACE,
            claims: self
                .claims
                .all()
                .iter()
                .map(|claim| ClaimView::read(claim, &about_claims))
                .collect(),
            pods: self
                .pods
                .all()
                .iter()
                .filter(|pod| D::is_current(&live, pod))
                .map(|pod| PodView::read(pod, &about_pods))
                .collect(),
        })
    }

    fn judge(view: &DependencyView, now: Timestamp) -> Verdict {
        judge_dependency(view, now)
    }

    /// Its containers go on.
    fn logs_when_done(_: &DependencyView) -> Vec<(String, String)> {
        Vec::new()
    }
}
