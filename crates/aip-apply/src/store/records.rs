//! The documents of the state backend. They are read by later releases of this program: fields are
//! added, never renamed. No value of a secret is in any of them, only ciphertexts.

use std::time::Duration;

use aip_stack::desired::ObjectRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fields of an object that this program applied, in the form of `fieldsV1` of
/// `metadata.managedFields`: names of fields, no values.
pub type FieldSet = Value;

/// The cluster a stack belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The name of the kubeconfig context at the time; informative.
    pub context: String,
    /// The UID of the namespace `kube-system`: it is made with the cluster and never changes.
    pub cluster_uid: String,
}

/// One object that the stack owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedObject {
    /// API version, kind, namespace and name.
    pub object: ObjectRef,
    /// Field set of the last apply; null if unknown.
    #[serde(default)]
    pub fields: FieldSet,
}

/// What an `up` is about to own, or a `destroy` to delete, written before its first write to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Random id.
    pub id: String,
    /// RFC 3339.
    pub started: String,
    /// Every object that the run may create or delete.
    pub objects: Vec<ObjectRef>,
}

/// What a stack owns: the last good state and every unfinished intent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The cluster, from the first `up` on.
    #[serde(default)]
    pub pin: Option<Pin>,
    /// The objects after the last `up` that came to its end.
    #[serde(default)]
    pub owned: Vec<OwnedObject>,
    /// Those that did not come to their end.
    #[serde(default)]
    pub intents: Vec<Intent>,
    /// The names of the migration Jobs that came to their end: a Job that somebody cleaned away
    /// is not run again.
    #[serde(default)]
    pub migrated: Vec<String>,
}

/// User, host and process that hold or ask for the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// User name of the operator.
    pub user: String,
    /// Host name of the operator's machine.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// The command: `up`, `destroy`, `lock`.
    pub command: String,
    /// How long the lease lasts without a renewal; none for one taken by hand with `lock`.
    pub ttl: Option<Duration>,
}

/// A lease as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A random name: who knows it has the lease.
    pub id: String,
    /// The current holder.
    pub holder: LeaseHolder,
    /// RFC 3339.
    pub acquired: String,
    /// RFC 3339; none for one taken by hand.
    pub expires: Option<String>,
}

/// Proof that the lease was acquired: the lease, and the version of the object that holds it.
#[derive(Debug, Clone)]
pub struct LeaseGuard {
    /// The lease as it was acquired.
    pub lease: Lease,
    /// What the next conditional write must name.
    pub version: String,
}

/// The number of an entry of the history, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// How a command that writes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything was applied, and the rollout is done or was not waited for.
    Succeeded,
    /// It failed; the cluster may be half way.
    Failed,
    /// A deployment had failed, and this one restored the state before it.
    RolledBack,
}

/// How many objects a plan touches, by what is done to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Objects to create.
    pub create: usize,
    /// Objects to update in place.
    pub update: usize,
    /// Objects to delete.
    pub delete: usize,
    /// To be replaced by one of another name.
    pub replace: usize,
    /// Unchanged objects.
    pub same: usize,
    /// Former versions that nothing needs any more.
    #[serde(default)]
    pub prune: usize,
}

impl Counts {
    /// How many make the stack another one. What is pruned does not.
    pub fn changes(&self) -> usize {
        self.create + self.update + self.delete + self.replace
    }
}

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// `up`, `rollback`, `destroy`, `adopt`.
    pub command: String,
    /// User name of the operator.
    pub user: String,
    /// Host name of the operator's machine.
    pub host: String,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: String,
    /// The commit of the working tree, if it is one.
    pub git_commit: Option<String>,
    /// The image that was rolled out.
    pub image: Option<String>,
    /// Objects by operation.
    pub counts: Counts,
    /// Result of the command.
    pub outcome: Outcome,
    /// The stack file as it was, secrets encrypted as in the file: what `rollback` goes back to.
    pub stack_file: String,
}

impl RevisionRecord {
    /// Whether the stack was as its file says afterwards, so that it can be gone back to.
    pub fn is_good(&self) -> bool {
        let deployed = matches!(self.outcome, Outcome::Succeeded | Outcome::RolledBack);
        deployed && self.command != "destroy"
    }
}
