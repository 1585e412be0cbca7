//! A Pod and its containers as they stand, with what the events add.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Event, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;

use super::events::ObjectEvents;

/// What a verdict needs of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// `Running`, `Pending`, `Terminating`, `Failed`.
    pub phase: String,
    /// Whether it passed its readiness probe.
    pub ready: bool,
    /// When the kubelet took it, or it was made.
    pub since: Option<Timestamp>,
    /// Why the whole Pod ended: `Evicted` and a sentence.
    pub ended: Option<(String, String)>,
    /// It cannot be placed: the scheduler's message, and since when.
    pub unschedulable: Option<(String, Option<Timestamp>)>,
    /// A node is being added for it, or cleared.
    pub scaling_up: bool,
    /// What else keeps it from being placed or from being ready: scheduling and readiness gates.
    pub gates: Vec<String>,
    /// The newest warning about it.
    pub warning: Option<String>,
    /// Its containers, init containers first, in order.
    pub containers: Vec<ContainerView>,
}

/// What a verdict needs of a container; init containers come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// Whether it is an init container.
    pub init: bool,
    /// The image reference in the Pod's specification.
    pub image: String,
    /// What it does.
    pub state: ContainerState,
    /// `restartCount`.
    pub restarts: i32,
    /// What the last attempt to pull its image came to, by the events, and since when there are
    /// such: older kubelets only say "Back-off" in the status.
    pub pull: Option<(String, Option<Timestamp>)>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// It waits: a reason such as `ImagePullBackOff`, and a message. How its last run ended if
    /// there was one.
    Waiting {
        /// Reason: `ImagePullBackOff`.
        reason: String,
        /// The kubelet's message.
        message: String,
        /// Last termination, if any.
        last: Option<LastRun>,
    },
    /// It runs.
    Running {
        /// Whether its readiness probe passes.
        ready: bool,
    },
    /// It ended.
    Terminated(LastRun),
}

/// How a container's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// Exit code of the process.
    pub exit: i32,
    /// The kubelet's word: `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
}

impl LastRun {
    /// `exit code 3`, or `OOMKilled, exit code 137`: the code alone does not say it.
    pub fn text(&self) -> String {
        let code = format!("exit code {}", self.exit);
        match self.reason.as_str() {
            "" | "Error" | "Completed" => code,
            reason => format!("{reason}, {code}"),
        }
    }
}

impl PodView {
    /// Reads one Pod and the events about it.
    pub fn read(pod: &Pod, events: &[Event]) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let about = ObjectEvents::new(events, pod.metadata.uid.as_deref());
        let spec = pod.spec.clone().unwrap_or_default();
        let inits = spec.init_containers.unwrap_or_default();
        let mut containers = views(
            &inits,
            status.init_container_statuses.as_deref(),
            true,
            &about,
        );
        containers.extend(views(
            &spec.containers,
            status.container_statuses.as_deref(),
            false,
            &about,
        ));
        let mut gates: Vec<String> = spec
            .scheduling_gates
            .iter()
            .flatten()
            .map(|gate| format!("scheduling gate {}", gate.name))
            .collect();
        if conditions
            .iter()
            .any(|c| c.type_ == "ContainersReady" && c.status == "True")
        {
            let waiting = spec.readiness_gates.iter().flatten().filter(|gate| {
                !conditions
                    .iter()
                    .any(|c| c.type_ == gate.condition_type && c.status == "True")
            });
            gates.extend(waiting.map(|gate| format!("readiness gate {}", gate.condition_type)));
        }
        let born = pod.metadata.creation_timestamp.as_ref();
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            phase: if pod.metadata.deletion_timestamp.is_some() {
                "Terminating".to_owned()
            } else {
                status.phase.unwrap_or_else(|| "Pending".to_owned())
            },
            ready: conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True"),
            since: status.start_time.as_ref().or(born).map(|time| time.0),
            ended: status
                .reason
                .map(|reason| (reason, status.message.unwrap_or_default())),
            unschedulable: conditions.iter().find(|c| is_unschedulable(c)).map(|c| {
                let since = c.last_transition_time.as_ref().map(|time| time.0);
                (c.message.clone().unwrap_or_default(), since)
            }),
            // The scheduler nominates a node from which it evicts Pods of less priority.
            scaling_up: about.is_node_provisioning()
                || status
                    .nominated_node_name
                    .is_some_and(|name| !name.is_empty()),
            gates,
            warning: about.warning(),
            containers,
        }
    }
}

fn is_unschedulable(condition: &PodCondition) -> bool {
    condition.type_ == "PodScheduled"
        && condition.status != "True"
        && condition.reason.as_deref() == Some("Unschedulable")
}

fn views(
    containers: &[Container],
    statuses: Option<&[ContainerStatus]>,
    init: bool,
    about: &ObjectEvents<'_>,
) -> Vec<ContainerView> {
    containers
        .iter()
        .map(|container| {
            let image = container.image.clone().unwrap_or_default();
            let status = statuses
                .into_iter()
                .flatten()
                .find(|status| status.name == container.name);
            ContainerView {
                name: container.name.clone(),
                init,
                pull: about.of("Failed", &format!("Failed to pull image \"{image}\"")),
                image,
                restarts: status.map_or(0, |status| status.restart_count),
                state: status.map_or_else(not_begun, state),
            }
        })
        .collect()
}

fn not_begun() -> ContainerState {
    ContainerState::Waiting {
        reason: "Pending".to_owned(),
        message: String::new(),
        last: None,
    }
}

fn state(status: &ContainerStatus) -> ContainerState {
    let run = |ended: &k8s_openapi::api::core::v1::ContainerStateTerminated| LastRun {
        exit: ended.exit_code,
        reason: ended.reason.clone().unwrap_or_default(),
    };
    let last = status
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref())
        .map(run);
    let Some(state) = &status.state else {
        return not_begun();
    };
    if let Some(waiting) = &state.waiting {
        ContainerState::Waiting {
            reason: waiting.reason.clone().unwrap_or_default(),
            message: waiting.message.clone().unwrap_or_default(),
            last,
        }
    } else if let Some(terminated) = &state.terminated {
        ContainerState::Terminated(run(terminated))
    } else if state.running.is_some() {
        ContainerState::Running {
            ready: status.ready,
        }
    } else {
        not_begun()
    }
}
