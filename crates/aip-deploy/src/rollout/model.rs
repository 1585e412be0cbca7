//! The state of a rollout, read from the objects the controllers write.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use k8s_openapi::jiff::Timestamp;

/// A Deployment with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// The generation that the controller has seen.
    pub observed: i64,
    /// The revision being rolled out; 0 before the controller named one.
    pub revision: i64,
    /// Replicas wanted.
    pub wanted: i32,
    /// Replicas there are, of any revision.
    pub replicas: i32,
    /// Replicas of the newest revision.
    pub updated: i32,
    /// Replicas that serve.
    pub available: i32,
    /// `Progressing` is false: the controller gave up.
    pub deadline_exceeded: Option<String>,
    /// `ReplicaFailure` is true: Pods cannot be made. The message, and since when.
    pub replica_failure: Option<(String, Option<Timestamp>)>,
    /// Newest first.
    pub sets: Vec<Set>,
}

/// A `ReplicaSet` that still has or should have Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: i64,
    /// Pods wanted.
    pub wanted: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Its Pods, oldest first.
    pub pods: Vec<PodView>,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// `Running`, `Pending`, `Terminating`, `Failed`.
    pub phase: String,
    /// Whether it passed its readiness probe.
    pub ready: bool,
    /// It cannot be placed: the scheduler's message, and since when.
    pub unschedulable: Option<(String, Option<Timestamp>)>,
    /// A node is being added for it.
    pub scaling_up: bool,
    /// The newest warning about it.
    pub warning: Option<String>,
    /// Its containers, init containers first, in order.
    pub containers: Vec<ContainerView>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// Whether it runs before the others.
    pub init: bool,
    /// What it does.
    pub state: ContainerState,
    /// How often it was started again.
    pub restarts: i32,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// It waits: a reason such as `ImagePullBackOff`, and a message. The exit code of its last run
    /// if there was one.
    Waiting {
        /// The kubelet's word.
        reason: String,
        /// The kubelet's sentence.
        message: String,
        /// How the run before ended.
        last_exit: Option<i32>,
    },
    /// It runs.
    Running {
        /// Whether its readiness probe passes.
        ready: bool,
    },
    /// It ended.
    Terminated {
        /// With this code.
        exit: i32,
        /// The kubelet's word: `Completed`, `Error`, `OOMKilled`.
        reason: String,
    },
}

/// The controller's annotation.
const REVISION: &str = "deployment.kubernetes.io/revision";

impl Rollout {
    /// Reads the objects of the namespace; those of other owners are ignored.
    pub fn read(
        deployment: &Deployment,
        sets: &[ReplicaSet],
        pods: &[Pod],
        events: &[Event],
    ) -> Self {
        let uid = deployment.metadata.uid.as_deref();
        let status = deployment.status.clone().unwrap_or_default();
        let condition = |kind: &str, value: &str| {
            let mut all = status.conditions.iter().flatten();
            all.find(|c| c.type_ == kind && c.status == value)
        };
        let mut views: Vec<Set> = sets
            .iter()
            .filter(|set| owner(set.metadata.owner_references.as_deref()) == uid && uid.is_some())
            .map(|set| Set::read(set, pods, events))
            .filter(|set| set.wanted > 0 || !set.pods.is_empty())
            .collect();
        views.sort_by(|a, b| b.revision.cmp(&a.revision).then(a.name.cmp(&b.name)));
        Self {
            name: deployment.metadata.name.clone().unwrap_or_default(),
            generation: deployment.metadata.generation.unwrap_or(0),
            observed: status.observed_generation.unwrap_or(0),
            revision: revision(deployment.metadata.annotations.as_ref()),
            wanted: deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(1),
            replicas: status.replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            deadline_exceeded: condition("Progressing", "False")
                .filter(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"))
                .map(|c| c.message.clone().unwrap_or_default()),
            replica_failure: condition("ReplicaFailure", "True").map(|c| {
                let since = c.last_transition_time.as_ref().map(|time| time.0);
                (c.message.clone().unwrap_or_default(), since)
            }),
            sets: views,
        }
    }

    /// The set being rolled out, once the controller has made it. Before that the newest set is
    /// the old one, and what its Pods do says nothing about this rollout.
    pub fn newest(&self) -> Option<&Set> {
        let settled = self.observed >= self.generation;
        self.sets
            .first()
            .filter(|set| settled && set.revision == self.revision)
    }
}

impl Set {
    fn read(set: &ReplicaSet, pods: &[Pod], events: &[Event]) -> Self {
        let uid = set.metadata.uid.as_deref();
        let mut views: Vec<(Option<Timestamp>, PodView)> = pods
            .iter()
            .filter(|pod| owner(pod.metadata.owner_references.as_deref()) == uid && uid.is_some())
            .map(|pod| {
                let born = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
                (born, PodView::read(pod, events))
            })
            .collect();
        views.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)));
        Self {
            name: set.metadata.name.clone().unwrap_or_default(),
            revision: revision(set.metadata.annotations.as_ref()),
            wanted: set
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(0),
            ready: set
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0),
            pods: views.into_iter().map(|(_, view)| view).collect(),
        }
    }
}

impl PodView {
    /// Reads one Pod and the events about it.
    pub fn read(pod: &Pod, events: &[Event]) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let uid = pod.metadata.uid.as_deref();
        let about: Vec<&Event> = events
            .iter()
            .filter(|event| event.involved_object.uid.as_deref() == uid && uid.is_some())
            .collect();
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let spec = pod.spec.clone().unwrap_or_default();
        let inits = spec.init_containers.unwrap_or_default();
        let mut containers = views(
            inits.iter().map(|container| container.name.as_str()),
            status.init_container_statuses.as_deref(),
            true,
        );
        containers.extend(views(
            spec.containers
                .iter()
                .map(|container| container.name.as_str()),
            status.container_statuses.as_deref(),
            false,
        ));
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            phase: if terminating {
                "Terminating".to_owned()
            } else {
                status.phase.unwrap_or_else(|| "Pending".to_owned())
            },
            ready: conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True"),
            unschedulable: conditions
                .iter()
                .find(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("Unschedulable"))
                .map(|c| {
                    let since = c.last_transition_time.as_ref().map(|time| time.0);
                    (c.message.clone().unwrap_or_default(), since)
                }),
            scaling_up: about
                .iter()
                .any(|event| event.reason.as_deref() == Some("TriggeredScaleUp")),
            warning: about
                .iter()
                .filter(|event| event.type_.as_deref() == Some("Warning"))
                .max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))
                .and_then(|event| {
                    Some(format!(
                        "{}: {}",
                        event.reason.as_deref()?,
                        event.message.as_deref()?
                    ))
                }),
            containers,
        }
    }
}

fn views<'n>(
    names: impl Iterator<Item = &'n str>,
    statuses: Option<&[ContainerStatus]>,
    init: bool,
) -> Vec<ContainerView> {
    names
        .map(|name| {
            let status = statuses
                .into_iter()
                .flatten()
                .find(|status| status.name == name);
            ContainerView {
                name: name.to_owned(),
                init,
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
        last_exit: None,
    }
}

fn state(status: &ContainerStatus) -> ContainerState {
    let last_exit = status
        .last_state
        .as_ref()
        .and_then(|last| Some(last.terminated.as_ref()?.exit_code));
    let Some(state) = &status.state else {
        return not_begun();
    };
    if let Some(waiting) = &state.waiting {
        ContainerState::Waiting {
            reason: waiting.reason.clone().unwrap_or_default(),
            message: waiting.message.clone().unwrap_or_default(),
            last_exit,
        }
    } else if let Some(terminated) = &state.terminated {
        ContainerState::Terminated {
            exit: terminated.exit_code,
            reason: terminated.reason.clone().unwrap_or_default(),
        }
    } else if state.running.is_some() {
        ContainerState::Running {
            ready: status.ready,
        }
    } else {
        not_begun()
    }
}

type Owners = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

fn owner(references: Option<&[Owners]>) -> Option<&str> {
    references?
        .iter()
        .find(|reference| reference.controller == Some(true))
        .map(|reference| reference.uid.as_str())
}

fn revision(annotations: Option<&std::collections::BTreeMap<String, String>>) -> i64 {
    annotations
        .and_then(|all| all.get(REVISION)?.parse().ok())
        .unwrap_or(0)
}
