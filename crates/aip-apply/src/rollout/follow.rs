//! Follows one object that is waited for, by watches, until there is a verdict.

use std::time::Duration;

use aip_base::Clock;
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, LogParams};
use tokio::time::Instant;

use crate::cluster::{ApiError, GuardedCluster};
use crate::error_text::printable_line;

use super::cache::{WatchStream, is_final, watch_error};
use super::verdict::{Failure, Pending, Verdict};

/// A kind that is waited for: what is watched, and how it is judged.
pub(super) trait Awaited: Default + 'static {
    /// The state of the object with everything below it.
    type View: PartialEq;
    /// As the API names it.
    const KIND: &'static str;

    /// The watches that the view is made from.
    fn watches(client: &Client, namespace: &str, name: &str) -> SelectAll<WatchStream<Self>>;

    /// Whether the first lists are complete, without which nothing can be said.
    fn is_complete(&self) -> bool;

    /// The present state; none if the object does not exist.
    fn view(&self, name: &str) -> Option<Self::View>;

    /// What the state means.
    fn judge(view: &Self::View, now: Timestamp) -> Verdict;

    /// The containers whose log is shown when the object is done: Pod and container.
    fn logs_when_done(view: &Self::View) -> Vec<(String, String)>;

    /// The container that is at work, whose last log line tells how far it is: Pod and container. None of an
    /// object that only has to get ready.
    fn at_work(_: &Self::View) -> Option<(String, String)> {
        None
    }

    /// Notes that line for the next view.
    fn record_log_line(&mut self, _: String) {}
}

/// How it ended to follow an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Whether it is done.
    pub outcome: FollowOutcome,
    /// What its containers logged if it is done and that is of interest, else the last log lines of
    /// the container that is to blame.
    pub log: Vec<String>,
}

/// Outcome of following an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowOutcome {
    /// It is done.
    Done,
    /// It failed.
    Failed(Failure),
    /// The time limit was reached; what it was waiting for.
    TimedOut(Pending),
}

impl Followed {
    /// The container that is to blame.
    pub fn container(&self) -> Option<&str> {
        let failure = match &self.outcome {
            FollowOutcome::Done => None,
            FollowOutcome::Failed(failure) => Some(failure),
            FollowOutcome::TimedOut(pending) => pending.lagging.as_ref(),
        };
        failure?.container.as_deref()
    }
}

/// Why an object cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The object does not exist.
    #[error("{0} does not exist")]
    Gone(String),
    /// The API server does not let the user watch.
    #[error("cannot watch the rollout: {0}")]
    Refused(ApiError),
}

/// Verdicts that depend on the time alone are looked for this often.
const VERDICT_INTERVAL: Duration = Duration::from_millis(500);

/// Log lines shown of a container.
const LOG_TAIL_LINES: i64 = 20;

/// How often a container that is at work is asked how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// How long the answer may take; nothing else is looked at meanwhile.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Where an object is followed, and for how long.
#[derive(Clone, Copy)]
pub struct Following<'f> {
    /// The cluster, whose identity was checked.
    pub cluster: &'f GuardedCluster,
    /// The namespace of the object.
    pub namespace: &'f str,
    /// Combined with the API server's clock skew for verdicts.
    pub clock: &'f dyn Clock,
    /// The time until [`FollowOutcome::TimedOut`].
    pub timeout: Duration,
}

/// Follows the object `name` until it is done, has failed, or the time limit is reached. `changed` is called
/// with every new state.
pub(super) async fn follow<K: Awaited>(
    following: Following<'_>,
    name: &str,
    mut changed: impl FnMut(&K::View),
) -> Result<Followed, FollowError> {
    let Following {
        cluster,
        namespace,
        clock,
        timeout,
    } = following;
    let mut watches = K::watches(&cluster.client, namespace, name);
    let deadline = Instant::now() + timeout;
    let mut tick = tokio::time::interval(VERDICT_INTERVAL);
    let mut snapshot = K::default();
    let mut shown: Option<K::View> = None;
    let mut waiting_for = Pending::new("the first response from the API server");
    let mut asked: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                let log = match &waiting_for.lagging {
                    Some(lagging) => failed_container_log(cluster, namespace, lagging).await,
                    None => Vec::new(),
                };
                return Ok(Followed { outcome: FollowOutcome::TimedOut(waiting_for), log });
            }
            _ = tick.tick() => None,
            event = watches.next() => event,
        };
        match event {
            Some(Ok(change)) => change(&mut snapshot),
            Some(Err(error)) => {
                if let Some(why) = is_final(&error).filter(|_| !snapshot.is_complete()) {
                    return Err(FollowError::Refused(why));
                }
                waiting_for = Pending::new(watch_error(error).to_string());
                continue;
            }
            None => {}
        }
        if !snapshot.is_complete() {
            continue;
        }
        let Some(view) = snapshot.view(name) else {
            return Err(FollowError::Gone(format!("{} {namespace}/{name}", K::KIND)));
        };
        if shown.as_ref() != Some(&view) {
            changed(&view);
        }
        match K::judge(&view, cluster.now(clock)) {
            Verdict::Waiting(reason) => waiting_for = reason,
            Verdict::Failed(failure) => {
                let log = failed_container_log(cluster, namespace, &failure).await;
                return Ok(Followed {
                    outcome: FollowOutcome::Failed(failure),
                    log,
                });
            }
            Verdict::Done => {
                let mut lines = Vec::new();
                for (pod, container) in K::logs_when_done(&view) {
                    lines.extend(last_lines(cluster, namespace, &pod, &container).await);
                }
                return Ok(Followed {
                    outcome: FollowOutcome::Done,
                    log: lines,
                });
            }
        }
        if asked.is_none_or(|asked| asked.elapsed() >= PROGRESS_INTERVAL)
            && let Some((pod, container)) = K::at_work(&view)
        {
            let parameters = LogParams {
                tail_lines: Some(1),
                ..LogParams::default()
            };
            let line = log(cluster, namespace, &pod, &container, parameters);
            let line = tokio::time::timeout(PROGRESS_TIMEOUT, line).await;
            if let Some(line) = line.ok().and_then(|mut lines| lines.pop()) {
                snapshot.record_log_line(line);
            }
            asked = Some(Instant::now());
        }
        shown = Some(view);
    }
}

/// The last lines of the container that is to blame: of its last run if it is between two.
async fn failed_container_log(
    cluster: &GuardedCluster,
    namespace: &str,
    failure: &Failure,
) -> Vec<String> {
    let (Some(pod), Some(container)) = (&failure.pod, &failure.container) else {
        return Vec::new();
    };
    let lines = last_lines(cluster, namespace, pod, container).await;
    if !lines.is_empty() {
        return lines;
    }
    let previous = LogParams {
        previous: true,
        tail_lines: Some(LOG_TAIL_LINES),
        ..LogParams::default()
    };
    log(cluster, namespace, pod, container, previous).await
}

async fn last_lines(
    cluster: &GuardedCluster,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Vec<String> {
    let parameters = LogParams {
        tail_lines: Some(LOG_TAIL_LINES),
        ..LogParams::default()
    };
    log(cluster, namespace, pod, container, parameters).await
}

/// The end of a container's log; empty if there is none or it may not be read: a log explains a
/// failure, its absence is none.
async fn log(
    cluster: &GuardedCluster,
    namespace: &str,
    pod: &str,
    container: &str,
    parameters: LogParams,
) -> Vec<String> {
    let parameters = LogParams {
        container: Some(container.to_owned()),
        ..parameters
    };
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
    let text = pods.logs(pod, &parameters).await.unwrap_or_default();
    text.lines().map(printable_line).collect()
}
