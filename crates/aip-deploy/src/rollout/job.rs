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

use super::cache::{Cache, Watch, hints, is_final, watch, watch_error};
use super::model::JobView;
use super::pod_view::PodView;
use super::verdict::{Pending, Verdict, judge_job};
use super::watch::{Ended, FollowError, TICK, last_lines, log, tail_of};

enum Seen {
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
) -> Result<(Ended, Vec<String>), FollowError> {
    let mut watches = watches(cluster, namespace, name);
    let deadline = Instant::now() + timeout;
    let mut tick = tokio::time::interval(TICK);
    let (mut jobs, mut pods) = (Cache::<Job>::default(), Cache::<Pod>::default());
    let (mut of_job, mut of_pods) = (Cache::<Event>::default(), Cache::<Event>::default());
    let mut shown: Vec<PodView> = Vec::new();
    let mut waiting_for = Pending::new(format!("Job {name} has not completed"));
    loop {
        let seen = tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                let log = tail_of(cluster, namespace, &waiting_for).await;
                return Ok((Ended::TimedOut(waiting_for, log), Vec::new()));
            }
            _ = tick.tick() => None,
            seen = watches.next() => seen,
        };
        match seen {
            Some(Ok(Seen::Job(event))) => jobs.note(*event),
            Some(Ok(Seen::Pod(event))) => pods.note(*event),
            Some(Ok(Seen::JobEvent(event))) => of_job.note(*event),
            Some(Ok(Seen::PodEvent(event))) => of_pods.note(*event),
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
                let log = last_lines(cluster, namespace, &failure).await;
                return Ok((Ended::Failed(failure, log), Vec::new()));
            }
            Verdict::Done => {
                let mut lines = Vec::new();
                for pod in &view.pods {
                    for container in pod.containers.iter().filter(|container| !container.init) {
                        let said = log(cluster, namespace, &pod.name, &container.name, false).await;
                        lines.extend(said);
                    }
                }
                return Ok((Ended::Done, lines));
            }
        }
    }
}

fn watches(cluster: &GuardedCluster, namespace: &str, name: &str) -> SelectAll<Watch<Seen>> {
    let client = &cluster.client;
    let chosen = watcher::Config::default();
    let mut watches = SelectAll::new();
    let by_name = chosen.clone().fields(&format!("metadata.name={name}"));
    watches.push(watch(client, namespace, by_name, |event| {
        Seen::Job(Box::new(event))
    }));
    let of_job = chosen
        .clone()
        .labels(&format!("batch.kubernetes.io/job-name={name}"));
    watches.push(watch(client, namespace, of_job, |event| {
        Seen::Pod(Box::new(event))
    }));
    let about_job = chosen.clone().fields(&format!(
        "involvedObject.kind=Job,involvedObject.name={name}"
    ));
    watches.push(hints(watch(client, namespace, about_job, |event| {
        Seen::JobEvent(Box::new(event))
    })));
    let about_pods = chosen.fields("involvedObject.kind=Pod");
    watches.push(hints(watch(client, namespace, about_pods, |event| {
        Seen::PodEvent(Box::new(event))
    })));
    watches
}
