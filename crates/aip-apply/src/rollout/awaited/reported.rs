//! What kinds have in common whose controllers report in the status of the object itself.

use std::marker::PhantomData;

use futures_util::stream::SelectAll;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::watcher::Config;
use serde_json::Value;

use crate::rollout::cache::{Cache, WatchStream, watch_by};
use crate::rollout::follow::Awaited;
use crate::rollout::status::{AwaitedCondition, StatusView, judge_status};
use crate::rollout::verdict::Verdict;

/// A kind whose objects are done when some conditions of theirs are true.
pub(super) trait Reported: Default + 'static {
    /// As the API names it.
    const KIND: &'static str;

    /// Where the API server serves it.
    fn resource() -> ApiResource;

    /// The conditions that must be true, of a live object.
    fn conditions(live: &Value) -> Vec<AwaitedCondition>;
}

/// Follows one object of a kind that reports.
pub(super) struct ReportedWatch<R> {
    objects: Cache<DynamicObject>,
    kind: PhantomData<R>,
}

impl<R> Default for ReportedWatch<R> {
    fn default() -> Self {
        Self {
            objects: Cache::default(),
            kind: PhantomData,
        }
    }
}

impl<R: Reported> Awaited for ReportedWatch<R> {
    type View = StatusView;
    const KIND: &'static str = R::KIND;

    fn watches(client: &Client, namespace: &str, name: &str) -> SelectAll<WatchStream<Self>> {
        let api = Api::namespaced_with(client.clone(), namespace, &R::resource());
        let by_name = Config::default().fields(&format!("metadata.name={name}"));
        SelectAll::from_iter([watch_by(api, by_name, |at: &mut Self| &mut at.objects)])
    }

    fn is_complete(&self) -> bool {
        self.objects.is_complete()
    }

    fn view(&self, name: &str) -> Option<StatusView> {
        // An object that was read from JSON can be written as JSON.
        let live = serde_json::to_value(self.objects.get(name)?).ok()?;
        Some(StatusView::new(R::KIND, &live, R::conditions(&live)))
    }

    fn judge(view: &StatusView, now: Timestamp) -> Verdict {
        judge_status(view, now)
    }

    /// It has no containers.
    fn logs_when_done(_: &StatusView) -> Vec<(String, String)> {
        Vec::new()
    }
}
