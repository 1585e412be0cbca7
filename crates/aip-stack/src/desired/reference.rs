//! Names an object of the cluster without holding it.

use std::fmt;

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::Pod;
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
    /// Any Pod of a namespace, to list them.
    pub fn any_pod(namespace: &str) -> Self {
        Self::of::<Pod>(Some(namespace), "")
    }

    /// An object of a kind that the Kubernetes API defines itself.
    pub fn of<K: Resource>(namespace: Option<&str>, name: &str) -> Self {
        Self {
            api_version: K::API_VERSION.to_owned(),
            kind: K::KIND.to_owned(),
            plural: K::URL_PATH_SEGMENT.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            logical_name: name.to_owned(),
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

    /// The API group; empty for the core group. The version may change from one release of this
    /// program to the next; the group does not.
    pub fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The version of the API group: `v1`.
    pub fn version(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or(&self.api_version, |(_, version)| version)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id())
    }
}
