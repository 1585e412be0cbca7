//! Names an object of the cluster without holding it.

use std::fmt;

use kube::core::{ApiResource, GroupVersionKind};
use serde::{Deserialize, Serialize};

/// Which object: enough to read or delete it without asking the API server what it serves.
///
/// It is also the form in which the inventory keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// `apps/v1`, or `v1` for the core group.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// `deployments`, as it stands in the path.
    pub plural: String,
    /// None for a kind that has no namespace.
    pub namespace: Option<String>,
    /// The name in the cluster.
    pub name: String,
    /// The name without the hash of the content.
    pub logical_name: String,
}

impl ObjectRef {
    /// Where the API server serves its kind.
    pub fn resource(&self) -> ApiResource {
        let (group, version) = self
            .api_version
            .split_once('/')
            .unwrap_or(("", &self.api_version));
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(group, version, &self.kind),
            &self.plural,
        )
    }

    /// The type as Pulumi writes it: `kubernetes:apps/v1:Deployment`, `kubernetes:core/v1:Secret`.
    pub fn type_token(&self) -> String {
        if self.api_version.contains('/') {
            format!("kubernetes:{}:{}", self.api_version, self.kind)
        } else {
            format!("kubernetes:core/{}:{}", self.api_version, self.kind)
        }
    }

    /// Whether both name the same object of the cluster, whatever they are called logically.
    pub fn is_same_object(&self, other: &Self) -> bool {
        (&self.kind, &self.namespace, &self.name) == (&other.kind, &other.namespace, &other.name)
            && self.group() == other.group()
    }

    /// `namespace/name`, or the name alone.
    pub fn id(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The version may change from one release of this program to the next; the group does not.
    fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id())
    }
}
