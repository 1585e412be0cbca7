//! What has become of the containers of one Pod, and the `status` that tells it.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/>

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Everything that is reported about a Pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PodState {
    pub(crate) since: Timestamp,
    /// Known once the Pod has been set up.
    pub(crate) address: Option<String>,
    pub(crate) init: Vec<ObservedContainer>,
    pub(crate) main: Vec<ObservedContainer>,
}

/// Everything that is reported about a container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObservedContainer {
    name: String,
    image: String,
    pub(crate) now: CurrentState,
    pub(crate) last: Option<Termination>,
    pub(crate) restarts: i32,
    pub(crate) started: bool,
    pub(crate) ready: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CurrentState {
    Waiting {
        reason: &'static str,
        message: Option<String>,
    },
    Running {
        since: Timestamp,
    },
    Terminated(Termination),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Termination {
    pub(crate) exit_code: i32,
    pub(crate) reason: &'static str,
    pub(crate) message: Option<String>,
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
}

/// Which container of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContainerSlot {
    Init(usize),
    Main(usize),
}

impl PodState {
    pub(crate) fn new(pod: &Pod, now: Timestamp) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let init = spec.init_containers.unwrap_or_default();
        let reason = if init.is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        let observe = |container: &Container| ObservedContainer::new(container, reason);
        Self {
            since: now,
            address: None,
            init: init.iter().map(observe).collect(),
            main: spec.containers.iter().map(observe).collect(),
        }
    }

    pub(crate) fn get_mut(&mut self, slot: ContainerSlot) -> Option<&mut ObservedContainer> {
        match slot {
            ContainerSlot::Init(index) => self.init.get_mut(index),
            ContainerSlot::Main(index) => self.main.get_mut(index),
        }
    }

    /// The status to report; `before` gives the times of conditions that have not changed.
    pub(crate) fn status(&self, pod: &Pod, before: &PodStatus, now: Timestamp) -> PodStatus {
        let initialized = self.init.iter().all(ObservedContainer::has_succeeded);
        let ready = initialized && self.main.iter().all(|container| container.ready);
        let phase = self.phase(&restart_policy(pod));
        let done = phase == "Succeeded";
        let not_ready = match (ready, done) {
            (true, _) => None,
            (false, true) => Some("PodCompleted"),
            (false, false) => Some("ContainersNotReady"),
        };
        // Nobody here sets the conditions that gates name.
        let listed = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.readiness_gates.as_ref());
        let has_gates = listed.is_some_and(|all| !all.is_empty());
        let not_ready_by_gates =
            not_ready.or_else(|| has_gates.then_some("ReadinessGatesNotReady"));
        let uninitialized = (!initialized).then_some("ContainersNotInitialized");
        let condition = |kind: &str, holds: bool, reason: Option<&str>| {
            condition(before, now, kind, holds, reason)
        };
        PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(vec![
                condition("PodReadyToStartContainers", self.address.is_some(), None),
                condition("Initialized", initialized, uninitialized),
                condition("Ready", ready && !has_gates, not_ready_by_gates),
                condition("ContainersReady", ready, not_ready),
                condition("PodScheduled", true, None),
            ]),
            host_ip: Some("127.0.0.1".to_owned()),
            host_ips: Some(vec![HostIP {
                ip: "127.0.0.1".to_owned(),
            }]),
            pod_ip: self.address.clone(),
            pod_ips: self.address.clone().map(|ip| vec![PodIP { ip }]),
            start_time: Some(Time(self.since)),
            init_container_statuses: (!self.init.is_empty()).then(|| statuses(&self.init)),
            container_statuses: Some(statuses(&self.main)),
            ..PodStatus::default()
        }
    }

    /// The rules of the real kubelet (`getPhase`).
    fn phase(&self, restart_policy: &str) -> &'static str {
        let never = restart_policy == "Never";
        if never && self.init.iter().any(ObservedContainer::has_failed) {
            return "Failed";
        }
        let initialized = self.init.iter().all(ObservedContainer::has_succeeded);
        if !initialized || self.main.iter().any(ObservedContainer::has_never_run) {
            return "Pending";
        }
        let running =
            |container: &ObservedContainer| matches!(container.now, CurrentState::Running { .. });
        if restart_policy == "Always" || self.main.iter().any(running) {
            return "Running";
        }
        if self.main.iter().all(ObservedContainer::has_succeeded) {
            return "Succeeded";
        }
        if never { "Failed" } else { "Running" }
    }
}

impl ObservedContainer {
    fn new(container: &Container, reason: &'static str) -> Self {
        Self {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            now: CurrentState::Waiting {
                reason,
                message: None,
            },
            last: None,
            restarts: 0,
            started: false,
            ready: false,
        }
    }

    fn has_succeeded(&self) -> bool {
        matches!(&self.now, CurrentState::Terminated(end) if end.exit_code == 0)
    }

    fn has_failed(&self) -> bool {
        matches!(&self.now, CurrentState::Terminated(end) if end.exit_code != 0)
    }

    fn has_never_run(&self) -> bool {
        matches!(self.now, CurrentState::Waiting { .. }) && self.last.is_none()
    }

    fn status(&self) -> ContainerStatus {
        let ran = !self.has_never_run();
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: if ran {
                format!("process://{}", self.image)
            } else {
                String::new()
            },
            container_id: ran.then(|| format!("process://{}-{}", self.name, self.restarts)),
            state: Some(self.now.state()),
            last_state: Some(
                self.last
                    .as_ref()
                    .map(Termination::state)
                    .unwrap_or_default(),
            ),
            restart_count: self.restarts,
            started: Some(self.started),
            ready: self.ready,
            ..ContainerStatus::default()
        }
    }
}

impl CurrentState {
    fn state(&self) -> ContainerState {
        match self {
            Self::Waiting { reason, message } => ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some((*reason).to_owned()),
                    message: message.clone(),
                }),
                ..ContainerState::default()
            },
            Self::Running { since } => ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(Time(*since)),
                }),
                ..ContainerState::default()
            },
            Self::Terminated(end) => end.state(),
        }
    }
}

impl Termination {
    fn state(&self) -> ContainerState {
        ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: self.exit_code,
                reason: Some(self.reason.to_owned()),
                message: self.message.clone(),
                started_at: Some(Time(self.started)),
                finished_at: Some(Time(self.finished)),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        }
    }
}

/// `Always` unless the Pod says otherwise.
pub(crate) fn restart_policy(pod: &Pod) -> String {
    let policy = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.clone());
    policy.unwrap_or_else(|| "Always".to_owned())
}

fn statuses(containers: &[ObservedContainer]) -> Vec<ContainerStatus> {
    containers.iter().map(ObservedContainer::status).collect()
}

/// A condition, whose time moves only when its status changes.
fn condition(
    before: &PodStatus,
    now: Timestamp,
    kind: &str,
    holds: bool,
    reason: Option<&str>,
) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let same = before
        .conditions
        .iter()
        .flatten()
        .find(|old| old.type_ == kind && old.status == status);
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        last_transition_time: same
            .and_then(|old| old.last_transition_time.clone())
            .or(Some(Time(now))),
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn termination(exit_code: i32) -> Termination {
        Termination {
            exit_code,
            reason: "",
            message: None,
            started: NOW,
            finished: NOW,
        }
    }

    fn ended(exit_code: i32) -> CurrentState {
        CurrentState::Terminated(termination(exit_code))
    }

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {
                "restartPolicy": policy,
                "initContainers": [{"name": "migrate", "image": "i"}],
                "containers": [{"name": "web", "image": "w"}],
            },
        }))
        .unwrap()
    }

    fn waiting() -> CurrentState {
        CurrentState::Waiting {
            reason: "PodInitializing",
            message: None,
        }
    }

    #[test]
    fn the_phase_follows_from_policy_and_containers() {
        let running = || CurrentState::Running { since: NOW };
        for (policy, init, main, phase) in [
            ("Always", waiting(), waiting(), "Pending"),
            ("Always", running(), waiting(), "Pending"),
            ("Always", ended(1), waiting(), "Pending"),
            ("Never", ended(1), waiting(), "Failed"),
            ("Always", ended(0), waiting(), "Pending"),
            ("Always", ended(0), running(), "Running"),
            ("Always", ended(0), ended(1), "Running"),
            ("OnFailure", ended(0), ended(1), "Running"),
            ("OnFailure", ended(0), ended(0), "Succeeded"),
            ("Never", ended(0), ended(0), "Succeeded"),
            ("Never", ended(0), ended(1), "Failed"),
        ] {
            let pod = pod(policy);
            let mut state = PodState::new(&pod, NOW);
            let story = format!("{policy} {init:?} {main:?}");
            state.init[0].now = init;
            state.main[0].now = main;
            let status = state.status(&pod, &PodStatus::default(), NOW);
            assert_eq!(status.phase.as_deref(), Some(phase), "{story}");
        }
    }

    #[test]
    fn a_container_that_crashed_and_waits_does_not_make_the_pod_pending() {
        let pod = pod("Always");
        let mut state = PodState::new(&pod, NOW);
        state.init[0].now = ended(0);
        state.main[0].now = waiting();
        state.main[0].last = Some(termination(1));
        let status = state.status(&pod, &PodStatus::default(), NOW);
        assert_eq!(status.phase.as_deref(), Some("Running"));
    }

    #[test]
    fn the_time_of_a_condition_moves_only_with_its_status() {
        let pod = pod("Always");
        let mut state = PodState::new(&pod, NOW);
        let since = |status: &PodStatus, kind: &str| {
            let mut conditions = status.conditions.iter().flatten();
            let found = conditions.find(|condition| condition.type_ == kind);
            found.and_then(|found| found.last_transition_time.clone())
        };
        let before = state.status(&pod, &PodStatus::default(), NOW);
        let later = Timestamp::MAX;
        state.init[0].now = ended(0);
        let after = state.status(&pod, &before, later);
        assert_eq!(since(&after, "Initialized"), Some(Time(later)));
        assert_eq!(since(&after, "Ready"), Some(Time(NOW)));
    }
}
