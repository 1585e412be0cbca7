//! Follows a migration Job until it is complete or has failed.

use std::time::Duration;

use aip_base::Clock;
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::runtime::watcher;
use tokio::time::Instant;

use crate::guard::GuardedCluster;

use super::cache::{Cache, WatchStream, best_effort, is_final, watch, watch_error};
use super::model::JobView;
use super::pod_view::PodView;
use super::verdict::{Pending, Verdict, judge_job};
use super::watch::{
    FollowError, FollowOutcome, VERDICT_INTERVAL, failed_container_log, lagging_container_log, log,
};

enum WatchEvent {
    Job(Box<watcher::Event<Job>>),
    Pod(Box<watcher::Event<Pod>>),
    JobEvent(Box<watcher::Event<Event>>),
    PodEvent(Box<watcher::Event<Event>>),
}

/// Follows the Job `name`. `changed` is called with the state of its Pods whenever one changed.
/// The log of a Job that came to its end is returned too: a migration says what it did.
pub async fn follow_job(
    cluster: &GuardedCluster,
    namespace: &str,
    name: &str,
    clock: &dyn Clock,
    timeout: Duration,
    mut changed: impl FnMut(&[PodView]) + Send,
) -> Result<(FollowOutcome, Vec<String>), FollowError> {
    let mut watches = watches(cluster, namespace, name);
    let deadline = Instant::now() + timeout;
    let mut tick = tokio::time::interval(VERDICT_INTERVAL);
    let (mut jobs, mut pods) = (Cache::<Job>::default(), Cache::<Pod>::default());
    let (mut of_job, mut of_pods) = (Cache::<Event>::default(), Cache::<Event>::default());
    let mut shown: Vec<PodView> = Vec::new();
    let mut waiting_for = Pending::new(format!("Job {name} has not completed"));
    loop {
        let event = tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                let log = lagging_container_log(cluster, namespace, &waiting_for).await;
                return Ok((FollowOutcome::TimedOut(waiting_for, log), Vec::new()));
            }
            _ = tick.tick() => None,
            event = watches.next() => event,
        };
        match event {
            Some(Ok(WatchEvent::Job(event))) => jobs.observe(*event),
            Some(Ok(WatchEvent::Pod(event))) => pods.observe(*event),
            Some(Ok(WatchEvent::JobEvent(event))) => of_job.observe(*event),
            Some(Ok(WatchEvent::PodEvent(event))) => of_pods.observe(*event),
            Some(Err(error)) => {
                if let Some(why) = is_final(&error) {
                    return Err(FollowError::Refused(why));
                }
                waiting_for = Pending::new(watch_error(error).to_string());
                continue;
            }
            None => {}
        }
        if !(jobs.is_complete() && pods.is_complete()) {
            continue;
        }
        let Some(job) = jobs.get(name) else {
            return Err(FollowError::Gone(format!("Job {namespace}/{name}")));
        };
        let mut events = of_job.all();
        events.extend(of_pods.all());
        let view = JobView::read(job, &pods.all(), &events);
        if view.pods != shown {
            changed(&view.pods);
            shown.clone_from(&view.pods);
        }
        match judge_job(&view, cluster.now(clock)) {
            Verdict::Waiting(pending) => waiting_for = pending,
            Verdict::Failed(failure) => {
                let log = failed_container_log(cluster, namespace, &failure).await;
                return Ok((FollowOutcome::Failed(failure, log), Vec::new()));
            }
            Verdict::Done => {
                let mut lines = Vec::new();
                for pod in &view.pods {
                    for container in pod.containers.iter().filter(|container| !container.init) {
                        let said = log(cluster, namespace, &pod.name, &container.name, false).await;
                        lines.extend(said);
                    }
                }
                return Ok((FollowOutcome::Done, lines));
            }
        }
    }
}

fn watches(
    cluster: &GuardedCluster,
    namespace: &str,
    name: &str,
) -> SelectAll<WatchStream<WatchEvent>> {
    let client = &cluster.client;
    let chosen = watcher::Config::default();
    let mut watches = SelectAll::new();
    let by_name = chosen.clone().fields(&format!("metadata.name={name}"));
    watches.push(watch(client, namespace, by_name, |event| {
        WatchEvent::Job(Box::new(event))
    }));
    let of_job = chosen
        .clone()
        .labels(&format!("batch.kubernetes.io/job-name={name}"));
    watches.push(watch(client, namespace, of_job, |event| {
        WatchEvent::Pod(Box::new(event))
    }));
    let about_job = chosen.clone().fields(&format!(
        "involvedObject.kind=Job,involvedObject.name={name}"
    ));
    watches.push(best_effort(watch(client, namespace, about_job, |event| {
        WatchEvent::JobEvent(Box::new(event))
    })));
    let about_pods = chosen.fields("involvedObject.kind=Pod");
    watches.push(best_effort(watch(client, namespace, about_pods, |event| {
        WatchEvent::PodEvent(Box::new(event))
    })));
    watches
}
