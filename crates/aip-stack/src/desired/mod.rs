//! What the stack should look like in the cluster: objects with the phase they are applied in.

mod common;
mod compat;
mod dependencies;
mod edge;
mod external_secret;
mod kinds;
mod migration;
mod names;
mod policies;
mod reference;
mod rekey;
mod requirement;
mod restricted;

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use crate::config::fields::PROFILE;
use crate::config::{Profile, StackConfig};

pub use common::SERVER_POD_SELECTOR;
pub use external_secret::SecretStore;
pub use names::{NameKey, is_content_address};
pub use reference::ObjectRef;
pub use rekey::{MOVE_JOB, REKEY_JOB, REKEY_TIMEOUT_SECONDS, doctor_job};
pub use requirement::{ListEntry, Requirement};

/// An object with this annotation and the value `true` is never deleted by `aip-deploy`. The mark is
/// kept in the cluster, so that it holds after the state is lost, too.
pub const PROTECT_ANNOTATION: &str = "aip-deploy/protect";

/// A desired object, as it is sent to the API server.
///
/// It does not implement `Debug`: the manifest of a Secret holds its values.
#[derive(Clone)]
pub struct Desired {
    object: ObjectRef,
    manifest: Value,
    phase: Phase,
    requires: Vec<Requirement>,
}

/// The phases of an apply, in order. The next one begins when the one before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// What Pods refer to: Secrets, accounts, policies, budgets.
    Foundation,
    /// The servers that the stack makes for AIP: PostgreSQL and Valkey.
    Dependency,
    /// The migration Job, awaited before anything new serves.
    Migration,
    /// Deployment, Services, autoscaler, routes.
    Workload,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [
        Self::Foundation,
        Self::Dependency,
        Self::Migration,
        Self::Workload,
    ];
}

/// The objects of a stack: a pure function, the same objects in the same order every time.
pub fn objects(config: &StackConfig, names: &NameKey) -> Vec<Desired> {
    match config.aip.get(&PROFILE) {
        Profile::Compat => compat::objects(config, names),
        Profile::Restricted => restricted::objects(config, names),
    }
}

impl Desired {
    /// `manifest` is the object that `object` refers to, whole, as JSON.
    pub fn new(object: ObjectRef, manifest: Value, phase: Phase) -> Self {
        Self {
            object,
            manifest,
            phase,
            requires: Vec::new(),
        }
    }

    /// The namespace of a stack, without anything in it.
    pub fn namespace(name: &str) -> Self {
        let object = ObjectRef::of::<Namespace>(None, name);
        let manifest = json!({
            "apiVersion": object.api_version,
            "kind": object.kind,
            "metadata": {"name": name},
        });
        Self::new(object, manifest, Phase::Foundation)
    }

    /// Kind, namespace, name and logical name.
    pub fn object(&self) -> &ObjectRef {
        &self.object
    }

    /// The object as plain JSON, with `apiVersion` and `kind`.
    pub fn manifest(&self) -> &Value {
        &self.manifest
    }

    /// Phase of the apply.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The same object with an annotation.
    #[must_use]
    pub fn annotated(&self, name: &str, value: &str) -> Self {
        let mut desired = self.clone();
        desired.manifest["metadata"]["annotations"][name] = value.into();
        desired
    }

    /// What has to exist before the object can work.
    pub fn requires(&self) -> &[Requirement] {
        &self.requires
    }

    /// The same object, which also needs another one.
    fn requiring(mut self, requirement: Requirement) -> Self {
        self.requires.push(requirement);
        self
    }

    /// The same object, which `aip-deploy` does not delete: neither when it is no longer desired
    /// nor with `destroy`. For what holds data, such as a database.
    #[must_use]
    pub fn protected(&self) -> Self {
        self.annotated(PROTECT_ANNOTATION, "true")
    }

    /// Whether it has that mark.
    pub fn is_protected(&self) -> bool {
        self.manifest["metadata"]["annotations"][PROTECT_ANNOTATION] == "true"
    }

    /// The same Deployment with a number of replicas.
    #[must_use]
    pub fn with_replicas(&self, replicas: i64) -> Self {
        let mut desired = self.clone();
        desired.manifest["spec"]["replicas"] = replicas.into();
        desired
    }
}
