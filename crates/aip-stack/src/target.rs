//! A stack, resolved and validated: what a deployment works on.

use serde_json::Value;

use crate::desired::Desired;

/// A stack with its objects.
#[derive(Clone)]
pub struct Target {
    /// The project's name, `aip` in the original.
    pub project: String,
    /// The stack's name.
    pub stack: String,
    /// The kubeconfig context that `k8s_context` demands.
    pub context: String,
    /// `aip-<stack>`.
    pub namespace: String,
    /// The desired objects, in the order of an apply.
    pub desired: Vec<Desired>,
    /// What the operator should know about the configuration; no secrets.
    pub notices: Vec<String>,
    /// The image of the server, as Pods have it.
    pub image: String,
    /// What a registry said about the tag of the image, if it was asked.
    pub resolved_image: Option<ResolvedImage>,
    /// The text of the stack file, for the history.
    pub stack_file: String,
}

/// An image whose tag stands for a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// `repository:tag@sha256:…`.
    pub image: String,
    /// The digest that the tag had when it was deployed last, if that was another.
    pub moved_from: Option<String>,
}

impl Target {
    /// Whether both stacks want the same objects, whatever else their files say.
    pub fn has_same_objects_as(&self, other: &Self) -> bool {
        let manifests = |target: &Self| -> Vec<Value> {
            target
                .desired
                .iter()
                .map(|desired| desired.manifest().clone())
                .collect()
        };
        manifests(self) == manifests(other)
    }
}
