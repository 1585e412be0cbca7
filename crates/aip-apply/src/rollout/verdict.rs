//! Judges a rollout or a migration: done by the rule of `kubectl rollout status`, failed as soon as
//! more waiting cannot help.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::model::{JobView, Rollout};
use super::pod_view::{ContainerState, ContainerView, PodView};
use super::pull::PullFailure;

/// Verdict on a rollout or Job at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every replica is of the newest revision and serves; the Job is complete.
    Done,
    /// Not yet, because of this.
    Waiting(Pending),
    /// It will not become better by itself.
    Failed(Failure),
}

/// What is waited for, as the last line of a time-out says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", self.cause_suffix())]
pub struct Pending {
    /// `1 of 2 new replicas are available`.
    pub what: String,
    /// What is known about the Pod that is behind, if one is.
    pub lagging: Option<Failure>,
}

impl Pending {
    /// Waits for something that is no Pod.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            lagging: None,
        }
    }

    fn cause_suffix(&self) -> String {
        let lagging = self.lagging.as_ref();
        lagging.map_or(String::new(), |lagging| format!("; {lagging}"))
    }
}

/// The cause of a failed rollout or Job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}{}", self.subject_prefix(), self.cause_suffix())]
pub struct Failure {
    /// The word of the kubelet, the scheduler or the controller.
    pub reason: String,
    /// Message of the kubelet, scheduler or controller.
    pub message: String,
    /// The Pod, if it is one Pod's fault.
    pub pod: Option<String>,
    /// The container, if it is one container's fault: its last log lines help.
    pub container: Option<String>,
}

impl Failure {
    /// Nobody's fault but the object's own.
    pub(super) fn of_object(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
            pod: None,
            container: None,
        }
    }

    fn of_pod(pod: &PodView, reason: &str, message: impl Into<String>) -> Self {
        Self {
            pod: Some(pod.name.clone()),
            ..Self::of_object(reason, message)
        }
    }

    fn subject_prefix(&self) -> String {
        match (&self.pod, &self.container) {
            (Some(pod), Some(container)) => format!("Pod {pod}, container {container}: "),
            (Some(pod), None) => format!("Pod {pod}: "),
            _ => String::new(),
        }
    }

    fn cause_suffix(&self) -> String {
        if self.message.is_empty() {
            String::new()
        } else {
            format!(": {}", self.message)
        }
    }
}

/// A container may fall once: a dependency may have come up later than it did.
const MAX_TOLERATED_RESTARTS: i32 = 1;

/// How long a Pod may wait for a place: whoever adds nodes says within this time that it is at it.
const UNSCHEDULABLE_GRACE: Duration = Duration::from_secs(30);

/// How long the controller may fail to make Pods: quotas are freed, policies are not.
const REFUSED_GRACE: Duration = Duration::from_secs(10);

/// The same, if an admission webhook does not answer: its own Pods may be restarting.
const WEBHOOK_GRACE: Duration = Duration::from_secs(30);

/// How long pulls may fail because of a registry that is busy or down. The kubelet tries after 10,
/// 20, 40 seconds.
const REGISTRY_GRACE: Duration = Duration::from_mins(2);

/// How long a pull may fail for reasons that are not known.
const PULL_GRACE: Duration = Duration::from_secs(45);

/// How long a container runtime may be too slow to make a container.
const RUNTIME_GRACE: Duration = Duration::from_mins(1);

/// How long a Job may be suspended: whoever queues Jobs lets them run in time.
const SUSPENDED_GRACE: Duration = Duration::from_secs(30);

/// Judges a rollout. `now` is the API server's time, as the times in the objects are.
pub fn judge(rollout: &Rollout, now: Timestamp) -> Verdict {
    if let Some(finalizers) = &rollout.deleting {
        return Verdict::Failed(being_deleted("Deployment", &rollout.name, finalizers));
    }
    if rollout.observed_generation < rollout.generation {
        return Verdict::Waiting(Pending::new(
            "the controller has not observed the new generation yet",
        ));
    }
    let pods = rollout.newest().map_or(&[][..], |set| &set.pods[..]);
    if let Some((message, since)) = &rollout.replica_failure
        && is_final_refusal(message, *since, now)
    {
        return Verdict::Failed(Failure::of_object("ReplicaFailure", message));
    }
    if let Some(failure) = pods.iter().find_map(|pod| pod_failure(pod, now)) {
        return Verdict::Failed(failure);
    }
    if let Some(message) = &rollout.deadline_exceeded {
        return Verdict::Failed(deadline_exceeded(message, pods));
    }
    let Rollout {
        desired,
        updated,
        replicas,
        available,
        ..
    } = *rollout;
    let what = if updated < desired {
        format!("{updated} of {desired} replicas have been updated")
    } else if replicas > updated {
        format!(
            "{} old replicas are pending termination",
            replicas - updated
        )
    } else if available < updated {
        format!("{available} of {updated} updated replicas are available")
    } else {
        return Verdict::Done;
    };
    if let Some(manager) = &rollout.paused {
        let message = format!(
            "\"{manager}\" paused the Deployment {name}; resume it with `kubectl rollout resume deployment/{name}`",
            name = rollout.name
        );
        return Verdict::Failed(Failure::of_object("Paused", message));
    }
    let refused = rollout.replica_failure.as_ref();
    let refused = refused.map(|(message, _)| Failure::of_object("ReplicaFailure", message));
    Verdict::Waiting(Pending {
        what,
        lagging: refused.or_else(|| pods.iter().find_map(not_ready)),
    })
}

/// Judges a migration. `now` is the API server's time.
pub fn judge_job(job: &JobView, now: Timestamp) -> Verdict {
    if let Some((reason, message)) = &job.failed {
        return Verdict::Failed(job_failure(job, reason, message));
    }
    if job.complete {
        return Verdict::Done;
    }
    if let Some(finalizers) = &job.deleting {
        return Verdict::Failed(being_deleted("Job", &job.name, finalizers));
    }
    if let Some((message, since)) = &job.refused
        && is_final_refusal(message, *since, now)
    {
        return Verdict::Failed(Failure::of_object("FailedCreate", message));
    }
    if let Some((manager, since)) = &job.suspended
        && since.is_some()
        && has_lasted(*since, now, SUSPENDED_GRACE)
    {
        let message = format!(
            "\"{manager}\" suspended the Job {}; set `spec.suspend: false` to resume it",
            job.name
        );
        return Verdict::Failed(Failure::of_object("Suspended", message));
    }
    if let Some(failure) = job.pods.iter().find_map(|pod| pod_failure(pod, now)) {
        return Verdict::Failed(failure);
    }
    let refused = job.refused.as_ref();
    let refused = refused.map(|(message, _)| Failure::of_object("FailedCreate", message));
    let suspended = job.suspended.as_ref();
    let suspended = suspended
        .map(|(manager, _)| Failure::of_object("Suspended", format!("\"{manager}\" suspended it")));
    let unfinished = |pod: &PodView| {
        let running =
            |container: &ContainerView| matches!(container.state, ContainerState::Running { .. });
        match pod.containers.iter().find(|container| running(container)) {
            Some(container) => Some(Failure {
                container: Some(container.name.clone()),
                ..Failure::of_pod(pod, "Running", "")
            }),
            None => not_ready(pod),
        }
    };
    Verdict::Waiting(Pending {
        what: format!("Job {} has not completed", job.name),
        lagging: refused
            .or(suspended)
            .or_else(|| job.pods.iter().rev().find_map(unfinished)),
    })
}

pub(super) fn being_deleted(kind: &str, name: &str, finalizers: &[String]) -> Failure {
    let held = if finalizers.is_empty() {
        String::new()
    } else {
        format!("; blocked by finalizers: {}", finalizers.join(", "))
    };
    Failure::of_object("Deleted", format!("{kind} {name} is being deleted{held}"))
}

/// The controller's deadline says how long, the Pods say why.
fn deadline_exceeded(message: &str, pods: &[PodView]) -> Failure {
    match pods.iter().find_map(not_ready) {
        Some(lagging) => Failure {
            reason: "ProgressDeadlineExceeded".to_owned(),
            message: format!("{}{}; {message}", lagging.reason, lagging.cause_suffix()),
            ..lagging
        },
        None => Failure::of_object("ProgressDeadlineExceeded", message),
    }
}

/// The Job's own word. Its last Pod says more than its back-off limit.
fn job_failure(job: &JobView, reason: &str, message: &str) -> Failure {
    let mut pods = job.pods.iter().rev();
    let ended = pods.clone().find_map(|pod| {
        pod.containers
            .iter()
            .find_map(|container| match &container.state {
                ContainerState::Terminated(run) if run.exit != 0 => Some(Failure {
                    container: Some(container.name.clone()),
                    ..Failure::of_pod(pod, reason, run.text())
                }),
                _ => None,
            })
    });
    ended
        .or_else(|| {
            pods.find_map(|pod| {
                let (why, message) = pod.ended.as_ref()?;
                Some(Failure::of_pod(pod, reason, format!("{why}: {message}")))
            })
        })
        .unwrap_or_else(|| Failure::of_object(reason, message))
}

/// Whether Pods that were refused will go on being refused.
fn is_final_refusal(message: &str, since: Option<Timestamp>, now: Timestamp) -> bool {
    let by_policy = [
        "violates PodSecurity",
        "denied request:",
        "denied the request",
    ];
    let grace = if message.contains("failed calling webhook") {
        WEBHOOK_GRACE
    } else {
        REFUSED_GRACE
    };
    by_policy.iter().any(|words| message.contains(words)) || has_lasted(since, now, grace)
}

/// Why a Pod will not come up.
pub(super) fn pod_failure(pod: &PodView, now: Timestamp) -> Option<Failure> {
    if pod.phase == "Terminating" {
        return None;
    }
    if let Some((message, since)) = &pod.unschedulable
        && !pod.scaling_up
        && has_lasted(*since, now, UNSCHEDULABLE_GRACE)
    {
        return Some(Failure::of_pod(pod, "Unschedulable", message));
    }
    pod.containers.iter().find_map(|container| {
        let (reason, message) = container_failure(pod, container, now)?;
        Some(Failure {
            container: Some(container.name.clone()),
            ..Failure::of_pod(pod, &reason, message)
        })
    })
}

fn container_failure(
    pod: &PodView,
    container: &ContainerView,
    now: Timestamp,
) -> Option<(String, String)> {
    match &container.state {
        ContainerState::Waiting {
            reason,
            message,
            last,
        } => {
            let tolerated = if container.init {
                0
            } else {
                MAX_TOLERATED_RESTARTS
            };
            let fatal = match reason.as_str() {
                "InvalidImageName" | "ErrImageNeverPull" => true,
                // `ErrImagePull` is the moment before.
                "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
                    pull_is_hopeless(pod, container, message, now)
                }
                "CreateContainerConfigError" | "CreateContainerError" => {
                    !is_slow(message) || has_lasted(pod.since, now, RUNTIME_GRACE)
                }
                "CrashLoopBackOff" => container.restarts > tolerated,
                _ => false,
            };
            if !fatal {
                return None;
            }
            let message = match last {
                Some(last) if reason == "CrashLoopBackOff" => {
                    format!("{}, {} restarts", last.text(), container.restarts)
                }
                None if reason == "CrashLoopBackOff" => format!("{} restarts", container.restarts),
                _ => with_cause(container, message),
            };
            Some((reason.clone(), message))
        }
        ContainerState::Terminated(run)
            if run.exit != 0 && container.restarts > MAX_TOLERATED_RESTARTS =>
        {
            let message = format!("exit code {}, {} restarts", run.exit, container.restarts);
            Some((run.reason.clone(), message))
        }
        ContainerState::Terminated(_) | ContainerState::Running { .. } => None,
    }
}

/// Whether the kubelet will not get the image by trying again.
fn pull_is_hopeless(
    pod: &PodView,
    container: &ContainerView,
    message: &str,
    now: Timestamp,
) -> bool {
    let since = container.pull.as_ref().and_then(|(_, since)| *since);
    let since = since.or(pod.since);
    let failure = match PullFailure::of(message, &container.image) {
        PullFailure::Unknown => {
            let event_message = container
                .pull
                .as_ref()
                .map_or("", |(event_message, _)| event_message.as_str());
            PullFailure::of(event_message, &container.image)
        }
        known => known,
    };
    match failure {
        PullFailure::Permanent => true,
        PullFailure::Transient => has_lasted(since, now, REGISTRY_GRACE),
        PullFailure::Unknown => has_lasted(since, now, PULL_GRACE),
    }
}

/// The status's sentence, with what the event says if only that knows the cause.
fn with_cause(container: &ContainerView, message: &str) -> String {
    let is_unexplained = PullFailure::of(message, &container.image) == PullFailure::Unknown;
    match &container.pull {
        Some((event_message, _)) if is_unexplained && message.starts_with("Back-off") => {
            event_message.clone()
        }
        _ => message.to_owned(),
    }
}

/// The kubelet or the runtime is late, and tries again.
fn is_slow(message: &str) -> bool {
    [
        "timed out waiting for the condition",
        "deadline exceeded",
        "context canceled",
        "is reserved for",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// What is known about a Pod that is not ready, if it should be.
pub(super) fn not_ready(pod: &PodView) -> Option<Failure> {
    if pod.ready || pod.phase == "Terminating" {
        return None;
    }
    if let Some((reason, message)) = &pod.ended {
        return Some(Failure::of_pod(pod, reason, message));
    }
    if let Some((message, _)) = &pod.unschedulable {
        return Some(Failure::of_pod(pod, "Unschedulable", message));
    }
    if !pod.gates.is_empty() {
        let gates = pod.gates.join(", ");
        return Some(Failure::of_pod(pod, "held back", gates));
    }
    let warning = || pod.warning.clone().unwrap_or_default();
    let found = pod.containers.iter().find_map(|container| {
        let (reason, message) = match &container.state {
            ContainerState::Running { ready: true } => return None,
            ContainerState::Terminated(run) if run.exit == 0 && container.init => return None,
            ContainerState::Running { ready: false } => ("not ready".to_owned(), warning()),
            ContainerState::Terminated(run) => (run.text(), warning()),
            ContainerState::Waiting {
                reason,
                message,
                last,
            } => {
                let message = match (last, message.is_empty()) {
                    (Some(last), _) if reason == "CrashLoopBackOff" => last.text(),
                    (_, true) => warning(),
                    (_, false) => with_cause(container, message),
                };
                (reason.clone(), message)
            }
        };
        Some(Failure {
            container: Some(container.name.clone()),
            ..Failure::of_pod(pod, &reason, message)
        })
    });
    Some(found.unwrap_or_else(|| Failure::of_pod(pod, &pod.phase, warning())))
}

pub(super) fn has_lasted(since: Option<Timestamp>, now: Timestamp, grace: Duration) -> bool {
    // A condition without a time has lasted for ever: the API server sets one.
    since.is_none_or(|since| now.duration_since(since).unsigned_abs().ge(&grace) && now >= since)
}
