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
    /// The image of the server.
    pub image: String,
    /// The text of the stack file, for the history.
    pub stack_file: String,
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
