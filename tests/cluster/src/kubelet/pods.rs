//! Follows the Pods of our nodes: each gets a task of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::KubeletShared;
use super::pod::{PodTermination, PodWorker};

/// Runs Pods for ever.
pub(crate) async fn run(shared: Arc<KubeletShared>) {
    let pods: Api<Pod> = Api::all(shared.client.clone());
    let bound = watcher::Config::default().fields("spec.nodeName!=");
    let mut changes = Box::pin(watcher(pods, bound).default_backoff());
    let mut followed: HashMap<String, watch::Sender<PodTermination>> = HashMap::new();
    let mut listed = HashSet::new();
    let mut tasks = JoinSet::new();
    while let Some(change) = changes.next().await {
        match change {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                listed.insert(pod.uid().unwrap_or_default());
                follow(&shared, &mut followed, &mut tasks, &pod);
            }
            Ok(Event::InitDone) => followed.retain(|uid, ending| {
                let exists = listed.contains(uid);
                if !exists {
                    ending.send_replace(PodTermination::Gone);
                }
                exists
            }),
            Ok(Event::Apply(pod)) => follow(&shared, &mut followed, &mut tasks, &pod),
            Ok(Event::Delete(pod)) => {
                if let Some(ending) = followed.remove(&pod.uid().unwrap_or_default()) {
                    ending.send_replace(PodTermination::Gone);
                }
            }
            // The watch starts again by itself.
            Err(_) => {}
        }
        while tasks.try_join_next().is_some() {}
    }
}

fn follow(
    shared: &Arc<KubeletShared>,
    followed: &mut HashMap<String, watch::Sender<PodTermination>>,
    tasks: &mut JoinSet<()>,
    pod: &Pod,
) {
    let uid = pod.uid().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    if !node.is_some_and(|node| shared.nodes.contains(&node)) {
        return;
    }
    let ending = followed.entry(uid).or_insert_with(|| {
        let (sender, receiver) = watch::channel(PodTermination::NotYet);
        // More than 254 Pods at once are more than one machine has processes for.
        if let Some(address) = shared.network.allocate()
            && let Ok(run) = PodWorker::new(Arc::clone(shared), pod.clone(), address, receiver)
        {
            tasks.spawn(Arc::new(run).live());
        }
        sender
    });
    if pod.metadata.deletion_timestamp.is_some() {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let by = Instant::now() + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        // A deletion may be hurried, not delayed.
        ending.send_if_modified(|ending| {
            let earlier = match ending {
                PodTermination::NotYet => true,
                PodTermination::By(deadline) => by < *deadline,
                PodTermination::Gone => false,
            };
            if earlier {
                *ending = PodTermination::By(by);
            }
            earlier
        });
    }
}
