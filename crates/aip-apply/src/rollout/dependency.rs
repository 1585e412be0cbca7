//! A server of the stack (PostgreSQL, Valkey) with its Pods and volumes: ready when its controller says so;
//! failed when a Pod or a volume cannot get there by waiting longer.

use std::time::Duration;

use aip_stack::config::fields::{CNPG_STORAGE_CLASS, VALKEY_STORAGE_CLASS};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use k8s_openapi::jiff::Timestamp;

use super::events::ObjectEvents;
use super::pod_view::PodView;
use super::verdict::{
    Failure, Pending, Verdict, being_deleted, has_lasted, not_ready, pod_failure,
};

/// How long a volume may be refused: storage systems are busy at times, and are asked again.
pub(super) const PROVISIONING_GRACE: Duration = Duration::from_secs(30);

/// Reasons of events by which a volume is refused. `WaitForFirstConsumer` is none: it waits for a Pod to be
/// placed (`k8s.io/kubernetes/pkg/controller/volume/events`).
const PROVISIONING_FAILURE_REASONS: [&str; 2] = ["ProvisioningFailed", "FailedBinding"];

/// A server with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyView {
    /// As the API names it: `Cluster`, `StatefulSet`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// It is being deleted: the finalizers that keep it.
    pub deleting: Option<Vec<String>>,
    /// What its controller says.
    pub state: DependencyState,
    /// Whether it has been followed for so long that a refusal of a volume counts: one that was written before
    /// may be past.
    pub settled: bool,
    /// Its claims for volumes, by name.
    pub claims: Vec<ClaimView>,
    /// Its Pods that are made from the object as it is now, by name.
    pub pods: Vec<PodView>,
}

/// What the controller of a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DependencyState {
    /// It is ready.
    Ready,
    /// It is not, and this is done about it.
    Pending(String),
    /// It will not be: reason and message.
    Failed(String, String),
}

/// A claim for a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimView {
    /// Its name.
    pub name: String,
    /// Whether it has a volume.
    pub bound: bool,
    /// Why it has none: the reason and message of an event, and since when there are such.
    pub refused: Option<(String, String, Option<Timestamp>)>,
}

impl ClaimView {
    /// Reads a claim and the events about it.
    pub fn read(claim: &PersistentVolumeClaim, events: &[Event]) -> Self {
        let phase = claim.status.as_ref().and_then(|of| of.phase.as_deref());
        let about = ObjectEvents::new(events, claim.metadata.uid.as_deref());
        Self {
            name: claim.metadata.name.clone().unwrap_or_default(),
            bound: phase == Some("Bound"),
            refused: about.with_reason(&PROVISIONING_FAILURE_REASONS),
        }
    }

    fn failure(&self, message: &str) -> Failure {
        let reason = self.refused.as_ref().map(|(reason, ..)| reason.as_str());
        Failure::of_object(
            reason.unwrap_or("Pending"),
            format!("PersistentVolumeClaim {}: {message}", self.name),
        )
    }

    /// One line for a claim that waits.
    fn line(&self) -> Option<String> {
        let refused = self.refused.as_ref();
        let why = refused.map_or(String::new(), |(reason, message, _)| {
            format!(", {reason}: {message}")
        });
        (!self.bound).then(|| format!("PersistentVolumeClaim {} has no volume{why}", self.name))
    }
}

impl DependencyView {
    /// The state of the server and of the volumes it waits for, without its Pods.
    pub fn lines(&self) -> Vec<String> {
        let state = match &self.state {
            DependencyState::Ready => "ready".to_owned(),
            DependencyState::Pending(what) => what.clone(),
            DependencyState::Failed(reason, message) => format!("{reason}: {message}"),
        };
        let claims = self.claims.iter().filter_map(ClaimView::line);
        std::iter::once(state).chain(claims).collect()
    }

    /// The field of the stack file that chooses the storage of the server.
    fn storage_class_field(&self) -> &'static str {
        if self.kind == "Cluster" {
            CNPG_STORAGE_CLASS.path()
        } else {
            VALKEY_STORAGE_CLASS.path()
        }
    }
}

/// Judges a server. `now` is the API server's time.
pub fn judge_dependency(view: &DependencyView, now: Timestamp) -> Verdict {
    let DependencyView { kind, name, .. } = view;
    if let Some(finalizers) = &view.deleting {
        return Verdict::Failed(being_deleted(kind, name, finalizers));
    }
    let waits = match &view.state {
        DependencyState::Ready => return Verdict::Done,
        DependencyState::Failed(reason, message) => {
            let message = format!("{kind} {name}: {message}");
            return Verdict::Failed(Failure::of_object(reason, message));
        }
        DependencyState::Pending(waits) => waits,
    };
    let unbound = || view.claims.iter().filter(|claim| !claim.bound);
    for claim in unbound() {
        if let Some((_, message, since)) = &claim.refused
            && view.settled
            && has_lasted(*since, now, PROVISIONING_GRACE)
        {
            let message = format!(
                "{message}; mend its StorageClass, or choose another (`kubectl get storageclass`) and delete the \
                 claim: aip-deploy config set --path {}",
                view.storage_class_field()
            );
            return Verdict::Failed(claim.failure(&message));
        }
    }
    // The scheduler waits for the volume, too, and that may take its time.
    let waits_for_volume = unbound().next().is_some();
    let failed = view.pods.iter().find_map(|pod| {
        let failure = pod_failure(pod, now)?;
        (!waits_for_volume || pod.unschedulable.is_none()).then_some(failure)
    });
    if let Some(failure) = failed {
        return Verdict::Failed(failure);
    }
    let claim = unbound().next().map(|claim| {
        let refused = claim.refused.as_ref();
        claim.failure(refused.map_or("", |(_, message, _)| message.as_str()))
    });
    Verdict::Waiting(Pending {
        what: format!("{kind} {name}: {waits}"),
        lagging: claim.or_else(|| view.pods.iter().find_map(not_ready)),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-30T12:00:00Z";
    const LONG_AGO: &str = "2026-11-30T11:00:00Z";

    fn claim(phase: &str, reason: &str, since: &str) -> ClaimView {
        let claim = json!({"metadata": {"name": "data-aip-valkey-0", "uid": "1"}, "status": {"phase": phase}});
        let event = json!({"metadata": {}, "reason": reason, "message": "why", "type": "Normal",
            "firstTimestamp": since, "lastTimestamp": since,
            "involvedObject": {"kind": "PersistentVolumeClaim", "uid": "1"}});
        let other = json!({"metadata": {}, "reason": "ProvisioningFailed", "message": "of another one",
            "firstTimestamp": LONG_AGO, "involvedObject": {"uid": "2"}});
        let events = [event, other].map(|event| serde_json::from_value(event).unwrap());
        ClaimView::read(&serde_json::from_value(claim).unwrap(), &events)
    }

    fn pod(status: &Value) -> PodView {
        let pod = json!({"metadata": {"name": "aip-valkey-0"},
            "spec": {"containers": [{"name": "valkey", "image": "valkey"}]}, "status": status});
        PodView::read(&serde_json::from_value::<Pod>(pod).unwrap(), &[])
    }

    fn unschedulable() -> PodView {
        pod(
            &json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "no place", "lastTransitionTime": LONG_AGO}]}),
        )
    }

    fn judged(state: DependencyState, claims: Vec<ClaimView>, pods: Vec<PodView>) -> Verdict {
        let view = DependencyView {
            kind: "StatefulSet",
            name: "aip-valkey".to_owned(),
            deleting: None,
            state,
            settled: true,
            claims,
            pods,
        };
        judge_dependency(&view, NOW.parse().unwrap())
    }

    fn pending() -> DependencyState {
        DependencyState::Pending("0 of 1 ready".to_owned())
    }

    fn assert_waiting(verdict: Verdict, words: &str) {
        match verdict {
            Verdict::Waiting(pending) => assert_eq!(pending.to_string(), words),
            other => panic!("{other:?}"),
        }
    }

    fn assert_failed(verdict: Verdict, words: &str) {
        match verdict {
            Verdict::Failed(failure) => {
                assert!(failure.to_string().starts_with(words), "{failure}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_volume_that_is_refused_fails_in_time_with_the_field_that_chooses_another() {
        for reason in PROVISIONING_FAILURE_REASONS {
            let verdict = judged(
                pending(),
                vec![claim("Pending", reason, LONG_AGO)],
                Vec::new(),
            );
            assert_failed(
                verdict,
                &format!("{reason}: PersistentVolumeClaim data-aip-valkey-0: why; "),
            );
            let verdict = judged(pending(), vec![claim("Pending", reason, NOW)], Vec::new());
            assert_waiting(
                verdict,
                &format!(
                    "StatefulSet aip-valkey: 0 of 1 ready; {reason}: PersistentVolumeClaim data-aip-valkey-0: why"
                ),
            );
        }
        let refused = claim("Pending", "ProvisioningFailed", LONG_AGO);
        let verdict = judged(pending(), vec![refused.clone()], Vec::new());
        let Verdict::Failed(failure) = verdict else {
            panic!("it waits")
        };
        assert!(
            failure
                .message
                .ends_with("aip_config.dependencies.valkey_cluster.storage_class")
        );
        // What was refused in an earlier run may be past.
        let view = DependencyView {
            kind: "StatefulSet",
            name: "aip-valkey".to_owned(),
            deleting: None,
            state: pending(),
            settled: false,
            claims: vec![refused.clone()],
            pods: Vec::new(),
        };
        let verdict = judge_dependency(&view, NOW.parse().unwrap());
        assert!(matches!(verdict, Verdict::Waiting(_)), "{verdict:?}");
        // What was refused before it was granted is.
        let bound = claim("Bound", "ProvisioningFailed", LONG_AGO);
        assert_waiting(
            judged(pending(), vec![bound], Vec::new()),
            "StatefulSet aip-valkey: 0 of 1 ready",
        );
        assert_eq!(
            judged(DependencyState::Ready, vec![refused], Vec::new()),
            Verdict::Done
        );
    }

    #[test]
    fn a_pod_that_waits_for_its_volume_has_not_failed() {
        let waiting = claim("Pending", "WaitForFirstConsumer", LONG_AGO);
        assert_waiting(
            judged(pending(), vec![waiting], vec![unschedulable()]),
            "StatefulSet aip-valkey: 0 of 1 ready; Pending: PersistentVolumeClaim data-aip-valkey-0: ",
        );
        let bound = claim("Bound", "Provisioned", LONG_AGO);
        assert_failed(
            judged(pending(), vec![bound], vec![unschedulable()]),
            "Pod aip-valkey-0: Unschedulable: no place",
        );
    }

    #[test]
    fn a_server_fails_by_its_controllers_word_its_image_or_its_deletion() {
        let failed = DependencyState::Failed("Unrecoverable".to_owned(), "why".to_owned());
        assert_failed(
            judged(failed, Vec::new(), Vec::new()),
            "Unrecoverable: StatefulSet aip-valkey: why",
        );
        let image = pod(
            &json!({"phase": "Pending", "containerStatuses": [{"name": "valkey", "image": "valkey",
            "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "InvalidImageName", "message": "no image"}}}]}),
        );
        assert_failed(
            judged(pending(), Vec::new(), vec![image]),
            "Pod aip-valkey-0, container valkey: InvalidImageName: no image",
        );
        let deleting = DependencyView {
            kind: "Cluster",
            name: "aip-postgres".to_owned(),
            deleting: Some(vec!["x/y".to_owned()]),
            state: DependencyState::Ready,
            settled: true,
            claims: Vec::new(),
            pods: Vec::new(),
        };
        assert_failed(
            judge_dependency(&deleting, NOW.parse().unwrap()),
            "Deleted: Cluster aip-postgres is being deleted; blocked by finalizers: x/y",
        );
    }
}
