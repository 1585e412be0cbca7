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

use super::cache::{Cache, Watch, hints, is_final, watch, watch_error};
use super::model::Rollout;
use super::verdict::{Failure, Pending, Verdict, judge};

/// How following ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
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
    /// There is nothing to follow.
    #[error("{0} does not exist")]
    Gone(String),
    /// The API server does not let the user watch.
    #[error("the rollout cannot be watched: {0}")]
    Refused(ApiError),
}

/// Verdicts that depend on the time alone are looked for this often.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// How much of a log is shown.
const LOG_LINES: i64 = 20;

impl FollowError {
    /// The exit code of a command that ends with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Gone(_) => Exit::Rollout,
            Self::Refused(error) => error.exit(),
        }
    }
}

enum Seen {
    Deployment(watcher::Event<Deployment>),
    Set(watcher::Event<ReplicaSet>),
    Pod(watcher::Event<Pod>),
    Event(watcher::Event<Event>),
}

#[derive(Default)]
struct Picture {
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    events: Cache<Event>,
}

impl Picture {
    fn note(&mut self, seen: Seen) {
        match seen {
            Seen::Deployment(event) => self.deployments.note(event),
            Seen::Set(event) => self.sets.note(event),
            Seen::Pod(event) => self.pods.note(event),
            Seen::Event(event) => self.events.note(event),
        }
    }

    /// Events may not be read by everybody, and no verdict needs them.
    fn is_complete(&self) -> bool {
        self.deployments.is_complete() && self.sets.is_complete() && self.pods.is_complete()
    }
}

/// Follows the Deployment `name` until it is done, has failed, or `timeout` is over. `changed` is
/// called with every new picture.
pub async fn follow(
    cluster: &GuardedCluster,
    namespace: &str,
    name: &str,
    clock: &dyn Clock,
    timeout: Duration,
    mut changed: impl FnMut(&Rollout) + Send,
) -> Result<Ended, FollowError> {
    let mut watches = watches(cluster, namespace, name);
    let deadline = Instant::now() + timeout;
    let mut tick = tokio::time::interval(TICK);
    let mut picture = Picture::default();
    let mut shown: Option<Rollout> = None;
    let mut waiting_for = Pending::new("the first answer of the API server");
    loop {
        let seen = tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                let log = tail_of(cluster, namespace, &waiting_for).await;
                return Ok(Ended::TimedOut(waiting_for, log));
            }
            _ = tick.tick() => None,
            seen = watches.next() => seen,
        };
        match seen {
            Some(Ok(seen)) => picture.note(seen),
            Some(Err(error)) => {
                if let Some(why) = is_final(&error).filter(|_| !picture.is_complete()) {
                    return Err(FollowError::Refused(why));
                }
                waiting_for = Pending::new(watch_error(error).to_string());
                continue;
            }
            None => {}
        }
        if !picture.is_complete() {
            continue;
        }
        let Some(deployment) = picture.deployments.get(name) else {
            return Err(FollowError::Gone(format!("Deployment {namespace}/{name}")));
        };
        let rollout = Rollout::read(
            deployment,
            &picture.sets.all(),
            &picture.pods.all(),
            &picture.events.all(),
        );
        if shown.as_ref() != Some(&rollout) {
            changed(&rollout);
        }
        let verdict = judge(&rollout, cluster.now(clock));
        shown = Some(rollout);
        match verdict {
            Verdict::Done => return Ok(Ended::Done),
            Verdict::Waiting(reason) => waiting_for = reason,
            Verdict::Failed(failure) => {
                let log = last_lines(cluster, namespace, &failure).await;
                return Ok(Ended::Failed(failure, log));
            }
        }
    }
}

fn watches(cluster: &GuardedCluster, namespace: &str, name: &str) -> SelectAll<Watch<Seen>> {
    let client = &cluster.client;
    let all = watcher::Config::default();
    let mut watches = SelectAll::new();
    watches.push(watch(
        client,
        namespace,
        all.clone().fields(&format!("metadata.name={name}")),
        Seen::Deployment,
    ));
    watches.push(watch(client, namespace, all.clone(), Seen::Set));
    watches.push(watch(client, namespace, all.clone(), Seen::Pod));
    let about_pods = all.fields("involvedObject.kind=Pod");
    watches.push(hints(watch(client, namespace, about_pods, Seen::Event)));
    watches
}

/// The last log lines of the container that is behind.
pub(super) async fn tail_of(
    cluster: &GuardedCluster,
    namespace: &str,
    pending: &Pending,
) -> Vec<String> {
    match &pending.behind {
        Some(behind) => last_lines(cluster, namespace, behind).await,
        None => Vec::new(),
    }
}

/// The last lines of the container that is to blame: of its last run if it is between two.
pub async fn last_lines(
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
        tail_lines: Some(LOG_LINES),
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
