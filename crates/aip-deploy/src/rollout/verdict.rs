//! Judges a rollout: done by the rule of `kubectl rollout status`, failed as soon as more waiting
//! cannot help.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::model::{ContainerState, ContainerView, PodView, Rollout};

/// What can be said of a rollout now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every replica is of the newest revision and serves.
    Done,
    /// Not yet, because of this.
    Waiting(String),
    /// It will not become better by itself.
    Failed(Failure),
}

/// Why a rollout failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}{}", self.place(), self.because())]
pub struct Failure {
    /// The word of the kubelet, the scheduler or the controller.
    pub reason: String,
    /// Its sentence.
    pub message: String,
    /// The Pod, if it is one Pod's fault.
    pub pod: Option<String>,
    /// The container, if it is one container's fault: its last log lines help.
    pub container: Option<String>,
}

impl Failure {
    fn place(&self) -> String {
        match (&self.pod, &self.container) {
            (Some(pod), Some(container)) => format!("Pod {pod}, container {container}: "),
            (Some(pod), None) => format!("Pod {pod}: "),
            _ => String::new(),
        }
    }

    fn because(&self) -> String {
        if self.message.is_empty() {
            String::new()
        } else {
            format!(": {}", self.message)
        }
    }
}

/// Reasons for waiting that more waiting does not end.
const FATAL: [&str; 6] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
];

/// A container may fall once: a dependency may have come up later than it did.
const TOLERATED_RESTARTS: i32 = 1;

/// How long a Pod may wait for a place: a cluster autoscaler says within this time that it is at it.
const UNSCHEDULABLE_GRACE: Duration = Duration::from_secs(30);

/// How long the controller may fail to make Pods: quotas are freed, policies are not.
const REPLICA_FAILURE_GRACE: Duration = Duration::from_secs(10);

/// Judges.
pub fn judge(rollout: &Rollout, now: Timestamp) -> Verdict {
    if rollout.observed < rollout.generation {
        return Verdict::Waiting("the controller has not seen the change yet".to_owned());
    }
    if let Some(failure) = failure(rollout, now) {
        return Verdict::Failed(failure);
    }
    if let Some(message) = &rollout.deadline_exceeded {
        return Verdict::Failed(controllers_failure("ProgressDeadlineExceeded", message));
    }
    let Rollout {
        wanted,
        updated,
        replicas,
        available,
        ..
    } = *rollout;
    if updated < wanted {
        return Verdict::Waiting(format!(
            "{updated} of {wanted} replicas are of the new revision"
        ));
    }
    if replicas > updated {
        return Verdict::Waiting(format!(
            "{} old replicas are still there",
            replicas - updated
        ));
    }
    if available < updated {
        return Verdict::Waiting(format!(
            "{available} of {updated} new replicas are available"
        ));
    }
    Verdict::Done
}

fn failure(rollout: &Rollout, now: Timestamp) -> Option<Failure> {
    if let Some((message, since)) = &rollout.replica_failure {
        let final_word = message.contains("violates PodSecurity");
        if final_word || has_lasted(*since, now, REPLICA_FAILURE_GRACE) {
            return Some(controllers_failure("ReplicaFailure", message));
        }
    }
    rollout
        .newest()?
        .pods
        .iter()
        .find_map(|pod| pod_failure(pod, now))
}

fn controllers_failure(reason: &str, message: &str) -> Failure {
    Failure {
        reason: reason.to_owned(),
        message: message.to_owned(),
        pod: None,
        container: None,
    }
}

/// Why a Pod will not come up; also asked of a migration's Pod.
pub fn pod_failure(pod: &PodView, now: Timestamp) -> Option<Failure> {
    if pod.phase == "Terminating" {
        return None;
    }
    if let Some((message, since)) = &pod.unschedulable
        && !pod.scaling_up
        && has_lasted(*since, now, UNSCHEDULABLE_GRACE)
    {
        return Some(Failure {
            reason: "Unschedulable".to_owned(),
            message: message.clone(),
            pod: Some(pod.name.clone()),
            container: None,
        });
    }
    pod.containers.iter().find_map(|container| {
        let (reason, message) = container_failure(container)?;
        Some(Failure {
            reason,
            message,
            pod: Some(pod.name.clone()),
            container: Some(container.name.clone()),
        })
    })
}

fn container_failure(container: &ContainerView) -> Option<(String, String)> {
    match &container.state {
        ContainerState::Waiting {
            reason,
            message,
            last_exit,
        } => {
            let crashing = reason == "CrashLoopBackOff" && container.restarts > TOLERATED_RESTARTS;
            if FATAL.contains(&reason.as_str()) {
                Some((reason.clone(), message.clone()))
            } else if crashing || (container.init && reason == "CrashLoopBackOff") {
                let exit = last_exit.map_or(String::new(), |code| format!("exit code {code}, "));
                Some((
                    reason.clone(),
                    format!("{exit}{} restarts", container.restarts),
                ))
            } else {
                None
            }
        }
        ContainerState::Terminated { exit, reason }
            if *exit != 0 && container.restarts > TOLERATED_RESTARTS =>
        {
            Some((
                reason.clone(),
                format!("exit code {exit}, {} restarts", container.restarts),
            ))
        }
        ContainerState::Terminated { .. } | ContainerState::Running { .. } => None,
    }
}

fn has_lasted(since: Option<Timestamp>, now: Timestamp, grace: Duration) -> bool {
    // A condition without a time has lasted for ever: the API server sets one.
    since.is_none_or(|since| now.duration_since(since).unsigned_abs().ge(&grace) && now >= since)
}
