//! The state of a rollout, read from the objects the controllers write.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::events::ObjectEvents;
use super::pod_view::{ContainerState, PodView};

/// A Deployment with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// The generation that the controller has seen.
    pub observed_generation: i64,
    /// The revision being rolled out; 0 before the controller named one.
    pub revision: i64,
    /// `spec.replicas`.
    pub desired: i32,
    /// Replicas there are, of any revision.
    pub replicas: i32,
    /// `status.updatedReplicas`.
    pub updated: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// `Progressing` is false: the controller gave up.
    pub deadline_exceeded: Option<String>,
    /// `ReplicaFailure` is true: Pods cannot be made. The message, and since when.
    pub replica_failure: Option<(String, Option<Timestamp>)>,
    /// The field manager that set `spec.paused`.
    pub paused: Option<String>,
    /// It is being deleted: the finalizers that keep it.
    pub deleting: Option<Vec<String>>,
    /// Newest first.
    pub replica_sets: Vec<ReplicaSetView>,
}

/// A Job with its Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// Condition `Complete`.
    pub complete: bool,
    /// It failed: reason and message.
    pub failed: Option<(String, String)>,
    /// Its Pods cannot be made. The message, and since when.
    pub refused: Option<(String, Option<Timestamp>)>,
    /// It is suspended: who did that, and since when.
    pub suspended: Option<(String, Option<Timestamp>)>,
    /// It is being deleted: the finalizers that keep it.
    pub deleting: Option<Vec<String>>,
    /// Its Pods, oldest first.
    pub pods: Vec<PodView>,
    /// The last line that the container at work has logged.
    pub last_log_line: Option<String>,
}

/// A `ReplicaSet` that still has or should have Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSetView {
    /// Its name.
    pub name: String,
    /// `deployment.kubernetes.io/revision`.
    pub revision: i64,
    /// `spec.replicas`.
    pub desired: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// The image of the first container of its Pods: in a stack of AIP, that of the server.
    pub image: Option<String>,
    /// Its Pods, oldest first.
    pub pods: Vec<PodView>,
}

/// The controller's annotation.
const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

impl Rollout {
    /// Reads the objects of the namespace; those of other owners are ignored.
    pub fn read(
        deployment: &Deployment,
        replica_sets: &[ReplicaSet],
        pods: &[Pod],
        events: &[Event],
    ) -> Self {
        let uid = deployment.metadata.uid.as_deref();
        let status = deployment.status.clone().unwrap_or_default();
        let condition = |kind: &str, value: &str| {
            let mut all = status.conditions.iter().flatten();
            all.find(|c| c.type_ == kind && c.status == value)
        };
        let mut views: Vec<ReplicaSetView> = replica_sets
            .iter()
            .filter(|set| owner(set.metadata.owner_references.as_deref()) == uid && uid.is_some())
            .map(|set| ReplicaSetView::read(set, pods, events))
            .filter(|set| set.desired > 0 || !set.pods.is_empty())
            .collect();
        views.sort_by(|a, b| b.revision.cmp(&a.revision).then(a.name.cmp(&b.name)));
        Self {
            name: deployment.metadata.name.clone().unwrap_or_default(),
            generation: deployment.metadata.generation.unwrap_or(0),
            observed_generation: status.observed_generation.unwrap_or(0),
            revision: revision(deployment.metadata.annotations.as_ref()),
            desired: deployment
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
            paused: deployment
                .spec
                .as_ref()
                .is_some_and(|spec| spec.paused == Some(true))
                .then(|| manager_of(&deployment.metadata, "f:paused")),
            deleting: deleting(&deployment.metadata),
            replica_sets: views,
        }
    }

    /// The set being rolled out, once the controller has made it. Before that the newest set is
    /// the old one, and what its Pods do says nothing about this rollout.
    pub fn newest(&self) -> Option<&ReplicaSetView> {
        let settled = self.observed_generation >= self.generation;
        self.replica_sets
            .first()
            .filter(|set| settled && set.revision == self.revision)
    }
}

impl ReplicaSetView {
    fn read(set: &ReplicaSet, pods: &[Pod], events: &[Event]) -> Self {
        let uid = set.metadata.uid.as_deref();
        Self {
            name: set.metadata.name.clone().unwrap_or_default(),
            revision: revision(set.metadata.annotations.as_ref()),
            desired: set
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(0),
            ready: set
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0),
            image: image_of(set),
            pods: pods_of(uid, pods, events),
        }
    }
}

fn image_of(set: &ReplicaSet) -> Option<String> {
    let template = set.spec.as_ref()?.template.as_ref()?;
    template.spec.as_ref()?.containers.first()?.image.clone()
}

impl JobView {
    /// Reads the Job, its Pods, and the events about all of them.
    pub fn read(job: &Job, pods: &[Pod], events: &[Event]) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let condition = |kinds: &[&str]| {
            let mut all = conditions.iter();
            all.find(|c| kinds.contains(&c.type_.as_str()) && c.status == "True")
        };
        let uid = job.metadata.uid.as_deref();
        let pods = pods_of(uid, pods, events);
        let suspended = job
            .spec
            .as_ref()
            .is_some_and(|spec| spec.suspend == Some(true));
        Self {
            name: job.metadata.name.clone().unwrap_or_default(),
            complete: condition(&["Complete", "SuccessCriteriaMet"]).is_some(),
            failed: condition(&["Failed", "FailureTarget"]).map(|c| {
                let reason = c.reason.clone().unwrap_or_else(|| c.type_.clone());
                (reason, c.message.clone().unwrap_or_default())
            }),
            // A Job has no condition for it, as a Deployment has. Once it has a Pod, what was
            // refused before is past.
            refused: ObjectEvents::new(events, uid)
                .of("FailedCreate", "")
                .filter(|_| pods.is_empty()),
            suspended: suspended.then(|| {
                let since = condition(&["Suspended"])
                    .and_then(|c| Some(c.last_transition_time.as_ref()?.0));
                (manager_of(&job.metadata, "f:suspend"), since)
            }),
            deleting: deleting(&job.metadata),
            pods,
            last_log_line: None,
        }
    }

    /// The container that runs: its Pod and its name.
    pub fn at_work(&self) -> Option<(String, String)> {
        let mut all = self.pods.iter().flat_map(|pod| {
            let containers = pod.containers.iter();
            containers.map(move |container| (pod, container))
        });
        let (pod, container) = all.find(|(_, container)| {
            !container.init && matches!(container.state, ContainerState::Running { .. })
        })?;
        Some((pod.name.clone(), container.name.clone()))
    }
}

/// The Pods of an owner, oldest first.
fn pods_of(owner_uid: Option<&str>, pods: &[Pod], events: &[Event]) -> Vec<PodView> {
    let mut views: Vec<(Option<Timestamp>, PodView)> = pods
        .iter()
        .filter(|pod| {
            owner(pod.metadata.owner_references.as_deref()) == owner_uid && owner_uid.is_some()
        })
        .map(|pod| {
            let born = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (born, PodView::read(pod, events))
        })
        .collect();
    views.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)));
    views.into_iter().map(|(_, view)| view).collect()
}

/// Who owns a field directly below `spec`, by `metadata.managedFields`.
fn manager_of(metadata: &ObjectMeta, field: &str) -> String {
    let entries = metadata.managed_fields.iter().flatten();
    let owns = |entry: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| !fields.0["f:spec"][field].is_null())
    };
    let manager = entries.into_iter().find(owns);
    manager
        .and_then(|entry| entry.manager.clone())
        .unwrap_or_else(|| "an unknown manager".to_owned())
}

/// The finalizers of an object that is being deleted.
fn deleting(metadata: &ObjectMeta) -> Option<Vec<String>> {
    metadata.deletion_timestamp.as_ref()?;
    Some(metadata.finalizers.clone().unwrap_or_default())
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
        .and_then(|all| all.get(REVISION_ANNOTATION)?.parse().ok())
        .unwrap_or(0)
}
