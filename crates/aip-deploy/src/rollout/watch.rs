//! Follows a rollout by watches until there is a verdict.

use std::time::Duration;

use aip_base::Clock;
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, LogParams};
use kube::runtime::watcher;
use tokio::time::Instant;

use crate::cluster::ApiError;
use crate::exit::Exit;
use crate::guard::GuardedCluster;

use super::cache::{Cache, WatchStream, best_effort, is_final, watch, watch_error};
use super::model::Rollout;
use super::verdict::{Failure, Pending, Verdict, judge};

/// Outcome of [`follow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowOutcome {
    /// It is done.
    Done,
    /// It failed; the last log lines of the container that is to blame.
    Failed(Failure, Vec<String>),
    /// The time is over; what it was waiting for, and the last log lines of the container that
    /// is behind.
    TimedOut(Pending, Vec<String>),
}

/// Why a rollout cannot be followed.
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
pub(super) const VERDICT_INTERVAL: Duration = Duration::from_millis(500);

/// Log lines shown of a container that failed.
const LOG_TAIL_LINES: i64 = 20;

impl FollowError {
    /// Exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Gone(_) => Exit::Rollout,
            Self::Refused(error) => error.exit(),
        }
    }
}

enum WatchEvent {
    Deployment(watcher::Event<Deployment>),
    ReplicaSet(watcher::Event<ReplicaSet>),
    Pod(watcher::Event<Pod>),
    Event(watcher::Event<Event>),
}

#[derive(Default)]
struct Snapshot {
    deployments: Cache<Deployment>,
    replica_sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    events: Cache<Event>,
}

impl Snapshot {
    fn observe(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Deployment(event) => self.deployments.observe(event),
            WatchEvent::ReplicaSet(event) => self.replica_sets.observe(event),
            WatchEvent::Pod(event) => self.pods.observe(event),
            WatchEvent::Event(event) => self.events.observe(event),
        }
    }

    /// Events may not be read by everybody, and no verdict needs them.
    fn is_complete(&self) -> bool {
        self.deployments.is_complete() && self.replica_sets.is_complete() && self.pods.is_complete()
    }
}

/// Follows the Deployment `name` until it is done, has failed, or `timeout` is over. `changed` is
/// called with every new snapshot.
pub async fn follow(
    cluster: &GuardedCluster,
    namespace: &str,
    name: &str,
    clock: &dyn Clock,
    timeout: Duration,
    mut changed: impl FnMut(&Rollout) + Send,
) -> Result<FollowOutcome, FollowError> {
    let mut watches = watches(cluster, namespace, name);
    let deadline = Instant::now() + timeout;
    let mut tick = tokio::time::interval(VERDICT_INTERVAL);
    let mut snapshot = Snapshot::default();
    let mut shown: Option<Rollout> = None;
    let mut waiting_for = Pending::new("the first response from the API server");
    loop {
        let event = tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                let log = lagging_container_log(cluster, namespace, &waiting_for).await;
                return Ok(FollowOutcome::TimedOut(waiting_for, log));
            }
            _ = tick.tick() => None,
            event = watches.next() => event,
        };
        match event {
            Some(Ok(event)) => snapshot.observe(event),
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
        let Some(deployment) = snapshot.deployments.get(name) else {
            return Err(FollowError::Gone(format!("Deployment {namespace}/{name}")));
        };
        let rollout = Rollout::read(
            deployment,
            &snapshot.replica_sets.all(),
            &snapshot.pods.all(),
            &snapshot.events.all(),
        );
        if shown.as_ref() != Some(&rollout) {
            changed(&rollout);
        }
        let verdict = judge(&rollout, cluster.now(clock));
        shown = Some(rollout);
        match verdict {
            Verdict::Done => return Ok(FollowOutcome::Done),
            Verdict::Waiting(reason) => waiting_for = reason,
            Verdict::Failed(failure) => {
                let log = failed_container_log(cluster, namespace, &failure).await;
                return Ok(FollowOutcome::Failed(failure, log));
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
    let all = watcher::Config::default();
    let mut watches = SelectAll::new();
    watches.push(watch(
        client,
        namespace,
        all.clone().fields(&format!("metadata.name={name}")),
        WatchEvent::Deployment,
    ));
    watches.push(watch(
        client,
        namespace,
        all.clone(),
        WatchEvent::ReplicaSet,
    ));
    watches.push(watch(client, namespace, all.clone(), WatchEvent::Pod));
    let about_pods = all.fields("involvedObject.kind=Pod");
    watches.push(best_effort(watch(
        client,
        namespace,
        about_pods,
        WatchEvent::Event,
    )));
    watches
}

/// The last log lines of the container that is behind.
pub(super) async fn lagging_container_log(
    cluster: &GuardedCluster,
    namespace: &str,
    pending: &Pending,
) -> Vec<String> {
    match &pending.lagging {
        Some(lagging) => failed_container_log(cluster, namespace, lagging).await,
        None => Vec::new(),
    }
}

/// The last lines of the container that is to blame: of its last run if it is between two.
pub async fn failed_container_log(
    cluster: &GuardedCluster,
    namespace: &str,
    failure: &Failure,
) -> Vec<String> {
    let (Some(pod), Some(container)) = (&failure.pod, &failure.container) else {
        return Vec::new();
    };
    for previous in [false, true] {
        let lines = log(cluster, namespace, pod, container, previous).await;
        if !lines.is_empty() {
            return lines;
        }
    }
    Vec::new()
}

/// The end of a container's log; empty if there is none or it may not be read: a log explains a
/// failure, its absence is none.
pub(super) async fn log(
    cluster: &GuardedCluster,
    namespace: &str,
    pod: &str,
    container: &str,
    previous: bool,
) -> Vec<String> {
    let parameters = LogParams {
        container: Some(container.to_owned()),
        previous,
        tail_lines: Some(LOG_TAIL_LINES),
        ..LogParams::default()
    };
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
    let text = pods.logs(pod, &parameters).await.unwrap_or_default();
    text.lines().map(printable).collect()
}

/// A log line cannot move the cursor or change colours.
fn printable(line: &str) -> String {
    crate::ui::style::plain(line)
        .chars()
        .filter(|character| !character.is_control() || *character == '\t')
        .collect()
}
