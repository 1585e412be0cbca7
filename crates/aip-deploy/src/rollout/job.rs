//! Follows a migration Job until it is complete or has failed.

use std::time::Duration;

use aip_base::Clock;
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use tokio::time::Instant;

use crate::guard::GuardedCluster;

use super::cache::{Cache, Watch, is_final, watch};
use super::model::{ContainerState, PodView};
use super::verdict::{Failure, pod_failure};
use super::watch::{Ended, FollowError, TICK, last_lines, log, now};

enum Seen {
    Job(Box<watcher::Event<Job>>),
    Pod(Box<watcher::Event<Pod>>),
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
    let mut watches: SelectAll<Watch<Seen>> = SelectAll::new();
    let chosen = watcher::Config::default();
    let by_name = chosen.clone().fields(&format!("metadata.name={name}"));
    watches.push(watch(&cluster.client, namespace, by_name, |event| {
        Seen::Job(Box::new(event))
    }));
    let of_job = chosen.labels(&format!("batch.kubernetes.io/job-name={name}"));
    watches.push(watch(&cluster.client, namespace, of_job, |event| {
        Seen::Pod(Box::new(event))
    }));
    let deadline = Instant::now() + timeout;
    let mut tick = tokio::time::interval(TICK);
    let (mut jobs, mut pods) = (Cache::<Job>::default(), Cache::<Pod>::default());
    let mut shown: Vec<PodView> = Vec::new();
    loop {
        let seen = tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                return Ok((Ended::TimedOut(format!("Job {name} has not completed")), Vec::new()));
            }
            _ = tick.tick() => None,
            seen = watches.next() => seen,
        };
        match seen {
            Some(Ok(Seen::Job(event))) => jobs.note(*event),
            Some(Ok(Seen::Pod(event))) => pods.note(*event),
            Some(Err(error)) => {
                if let Some(why) = is_final(&error) {
                    return Err(FollowError::Forbidden(why));
                }
            }
            None => {}
        }
        if !(jobs.is_complete() && pods.is_complete()) {
            continue;
        }
        let Some(job) = jobs.get(name) else {
            return Err(FollowError::Gone(format!("Job {namespace}/{name}")));
        };
        let views: Vec<PodView> = pods
            .all()
            .iter()
            .map(|pod| PodView::read(pod, &[]))
            .collect();
        if views != shown {
            changed(&views);
        }
        let failure = failed(job, &views).or_else(|| stuck(&views, clock));
        shown = views;
        if let Some(failure) = failure {
            let log = last_lines(cluster, namespace, &failure).await;
            return Ok((Ended::Failed(failure, log), Vec::new()));
        }
        if has_condition(job, &["Complete", "SuccessCriteriaMet"]).is_some() {
            let mut lines = Vec::new();
            for pod in &shown {
                for container in pod.containers.iter().filter(|container| !container.init) {
                    lines.extend(log(cluster, namespace, &pod.name, &container.name, false).await);
                }
            }
            return Ok((Ended::Done, lines));
        }
    }
}

/// The Job's own word. Its last Pod says more than its back-off limit.
fn failed(job: &Job, pods: &[PodView]) -> Option<Failure> {
    let (reason, message) = has_condition(job, &["Failed", "FailureTarget"])?;
    let culprit = pods.iter().rev().find_map(|pod| {
        let container = pod.containers.iter().find(|container| {
            matches!(container.state, ContainerState::Terminated { exit, .. } if exit != 0)
        })?;
        Some((
            pod.name.clone(),
            container.name.clone(),
            container.state.clone(),
        ))
    });
    Some(match culprit {
        Some((pod, container, ContainerState::Terminated { exit, reason })) => Failure {
            reason,
            message: format!("exit code {exit}"),
            pod: Some(pod),
            container: Some(container),
        },
        _ => Failure {
            reason,
            message,
            pod: None,
            container: None,
        },
    })
}

/// A Pod that will never start is not waited for until the Job's deadline.
fn stuck(pods: &[PodView], clock: &dyn Clock) -> Option<Failure> {
    pods.iter().find_map(|pod| pod_failure(pod, now(clock)))
}

fn has_condition(job: &Job, kinds: &[&str]) -> Option<(String, String)> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| {
        kinds.contains(&condition.type_.as_str()) && condition.status == "True"
    })?;
    Some((
        condition
            .reason
            .clone()
            .unwrap_or_else(|| condition.type_.clone()),
        condition.message.clone().unwrap_or_default(),
    ))
}
