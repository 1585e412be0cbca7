//! What the stack should look like in the cluster: objects with the phase they are applied in.

mod compat;
mod kinds;
mod migration;
mod names;
mod objects;
mod policies;
mod reference;
mod restricted;

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

pub use names::NameKey;
pub use objects::objects;
pub use reference::ObjectRef;

/// A desired object, as it is sent to the API server.
#[derive(Clone)]
pub struct Desired {
    /// The name without the hash of the content: what a reader recognises from run to run, and
    /// what pairs a replaced Secret with its successor.
    pub logical_name: String,
    /// The object as it is sent to the API server, namespace included.
    pub object: DynamicObject,
    /// Where the API server serves its kind.
    pub kind: ApiResource,
    /// Phase of the apply.
    pub phase: Phase,
}

/// The phases of an apply, in order. The next one begins when the one before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// What Pods refer to: Secrets, accounts, policies, budgets.
    Foundation,
    /// The migration Job, awaited before anything new serves.
    Migration,
    /// Deployment, Services, autoscaler.
    Workload,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Foundation, Self::Migration, Self::Workload];
}

impl Desired {
    /// Reference of the object.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            api_version: self.kind.api_version.clone(),
            kind: self.kind.kind.clone(),
            plural: self.kind.plural.clone(),
            namespace: self.object.metadata.namespace.clone(),
            name: self.object.metadata.name.clone().unwrap_or_default(),
            logical_name: self.logical_name.clone(),
        }
    }

    /// The namespace of a stack, without anything in it.
    pub fn namespace(name: &str) -> Self {
        let kind = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("", "v1", "Namespace"),
            "namespaces",
        );
        Self {
            logical_name: name.to_owned(),
            object: DynamicObject::new(name, &kind),
            kind,
            phase: Phase::Foundation,
        }
    }

    /// The same Deployment with a number of replicas.
    #[must_use]
    pub fn with_replicas(&self, replicas: i64) -> Self {
        let mut desired = self.clone();
        desired.object.data["spec"]["replicas"] = replicas.into();
        desired
    }

    /// The object as plain JSON, with `apiVersion` and `kind`.
    pub fn value(&self) -> Value {
        // A dynamic object is JSON already; its metadata has no value JSON cannot hold.
        let mut value = serde_json::to_value(&self.object).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.insert(
                "apiVersion".to_owned(),
                self.kind.api_version.clone().into(),
            );
            map.insert("kind".to_owned(), self.kind.kind.clone().into());
        }
        value
    }
}
