//! The plan: live objects compared with what a server-side dry run makes of ours. Pure: the
//! cluster was asked before, and everything it said is an argument.

mod build;
pub mod condition;
pub mod diff;
mod embedded;
pub mod fields;
pub mod limits;
pub mod mask;
pub mod references;
pub mod server_fields;

use std::collections::BTreeSet;

use aip_stack::desired::{Desired, ObjectRef};
use serde_json::Value;

use crate::store::{Counts, FieldSet};

pub use build::{Namespace, Stale, build, not_desired};
pub use condition::{Deleting, Paused};
pub use diff::Diff;
pub use fields::Conflict;

/// What the cluster said about one desired object.
#[derive(Clone)]
pub struct Observed {
    /// The object as it is, if it is.
    pub live: Option<Value>,
    /// Result of the dry run, or an estimate.
    pub proposed: Proposed,
    /// The API server's `Warning` headers: deprecations, Pod Security.
    pub warnings: Vec<String>,
    /// What was applied the last time, by the inventory.
    pub applied: Option<FieldSet>,
    /// The number of replicas that is handed over to an autoscaler.
    pub autoscaler_replicas: Option<i64>,
    /// It is a Job that came to its end, by the inventory, whether or not it is still there.
    pub finished: bool,
}

impl Observed {
    /// An object about which nothing else is known.
    pub fn new(live: Option<Value>, proposed: Proposed) -> Self {
        Self {
            live,
            proposed,
            warnings: Vec::new(),
            applied: None,
            autoscaler_replicas: None,
            finished: false,
        }
    }
}

/// What an apply would do, as far as it could be learned.
#[derive(Clone)]
pub enum Proposed {
    /// Result of a server-side dry run.
    Server(Value),
    /// The API server computed this after it had named conflicts.
    Forced(Value, Vec<Conflict>),
    /// The API server could not be asked; this is our own estimate.
    Estimate(Value, Fallback),
    /// The API server refuses the object.
    Refused(String),
}

/// Why the server-side dry run was not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    /// The namespace does not exist yet; `up` creates it.
    NoNamespace,
    /// The user may read but not write.
    NoRight,
    /// An admission webhook does not support dry runs.
    Webhook(String),
}

/// What the plan does with one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Unchanged.
    Same,
    /// It does not exist.
    Create,
    /// It exists with other content.
    Update,
    /// It takes the place of one with another name, which is pruned when nothing refers to it.
    Replace(ObjectRef),
    /// In the inventory, no longer desired.
    Delete,
    /// The stack no longer wants it, but a former `ReplicaSet` does: kept for a rollback.
    Retain,
    /// The stack no longer wants it, but it is marked as protected: it is never deleted.
    Protect,
    /// A former version of an object that the stack has under another name now. Nothing refers to
    /// it any more, so `up` tidies it away. That is no change of the stack: the Deployment's
    /// controller trims former `ReplicaSet`s whenever it likes.
    Prune,
}

/// One object of the plan.
#[derive(Clone)]
pub struct Step {
    /// API version, kind, namespace and name.
    pub object: ObjectRef,
    /// What to send; none for one that is deleted or retained.
    pub desired: Option<Desired>,
    /// Operation on the object.
    pub op: Op,
    /// What changes, secrets left out.
    pub diff: Option<Diff>,
    /// Fields that somebody changed since they were applied.
    pub drift: Vec<String>,
    /// Fields owned by other field managers with other values.
    pub conflicts: Vec<Conflict>,
    /// What the API server warned of.
    pub warnings: Vec<String>,
    /// Set if the API server could not be asked.
    pub estimated: Option<Fallback>,
    /// Set if the API server refuses it: the plan is incomplete.
    pub refused: Option<String>,
    /// Whether its fields are recorded as applied by this program.
    pub owned: bool,
    /// The number of replicas that is handed over to an autoscaler with this step: an apply that
    /// merely leaves the field out would set it to one.
    pub autoscaler_replicas: Option<i64>,
    /// The live object is being deleted: it is waited for, then the object is created.
    pub deleting: Option<Deleting>,
    /// It is a Deployment that somebody paused.
    pub paused: Option<Paused>,
    /// Other field managers that own fields of the live object's specification.
    pub other_managers: BTreeSet<String>,
    /// The identity of the live object: it may not be recreated between plan and write.
    pub uid: Option<String>,
}

/// Everything a command is about to do.
#[derive(Clone)]
pub struct Plan {
    /// Whether the namespace is created first.
    pub creates_namespace: bool,
    /// The API server's refusal to create the namespace.
    pub namespace_refused: Option<String>,
    /// One per object, in the order they are shown.
    pub steps: Vec<Step>,
}

/// A plan that may not be carried out, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// The API server refused objects.
    #[error("{} could not be computed; the plan is incomplete and cannot be applied", .0.join(", "))]
    Refused(Vec<String>),
    /// Fields belong to other managers.
    #[error(
        "{} field(s) are owned by other field managers; remove them from the configuration, or run again with \
         --take-ownership",
        .0.len()
    )]
    Conflicts(Vec<Conflict>),
    /// What was to be rolled out would not be.
    #[error(
        "{object} is paused by \"{by}\", so nothing would be rolled out; nothing was changed. Resume it with \
         `kubectl rollout resume`"
    )]
    Paused {
        /// The Deployment.
        object: String,
        /// The field manager that set `spec.paused`.
        by: String,
    },
}

impl Step {
    /// A step about which nothing is known but the live object.
    fn new(object: ObjectRef, op: Op, live: Option<&Value>) -> Self {
        Self {
            object,
            desired: None,
            op,
            diff: None,
            drift: Vec::new(),
            conflicts: Vec::new(),
            warnings: Vec::new(),
            estimated: None,
            refused: None,
            owned: true,
            autoscaler_replicas: None,
            deleting: None,
            paused: None,
            other_managers: live.map(fields::other_managers).unwrap_or_default(),
            uid: live
                .and_then(|live| live["metadata"]["uid"].as_str())
                .map(str::to_owned),
        }
    }

    /// Whether an apply has to send it: it changes, or nobody holds this program responsible for
    /// its fields yet.
    pub fn must_be_sent(&self) -> bool {
        let needed = self.is_change() || !self.owned || self.autoscaler_replicas.is_some();
        self.desired.is_some() && needed
    }

    /// Conflicts that an apply may not force.
    pub fn other_manager_conflicts(&self) -> impl Iterator<Item = &Conflict> {
        self.conflicts
            .iter()
            .filter(|conflict| !conflict.previously_owned)
    }

    /// Whether the stack is another one afterwards.
    pub fn is_change(&self) -> bool {
        !matches!(self.op, Op::Same | Op::Retain | Op::Protect | Op::Prune)
    }

    /// Whether it is left of an earlier deployment, for a rollback or for the next prune.
    fn is_leftover(&self) -> bool {
        matches!(self.op, Op::Retain | Op::Protect | Op::Prune)
    }
}

/// Names by which data was to be deleted that no protected object has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no protected object is called {}; {}", .unknown.join(", "), protected_text(.protected))]
pub struct UnknownData {
    /// The names.
    pub unknown: Vec<String>,
    /// The names that there are.
    pub protected: Vec<String>,
}

fn protected_text(names: &[String]) -> String {
    if names.is_empty() {
        "the stack has none".to_owned()
    } else {
        format!("the stack has {}", names.join(", "))
    }
}

impl Plan {
    /// Deletes the protected objects with these names, too. Each name must be one of theirs, so that nothing
    /// is deleted by a slip.
    pub fn delete_protected(&mut self, names: &[String]) -> Result<(), UnknownData> {
        let is_protected = |step: &&Step| step.op == Op::Protect;
        let protected = self.steps.iter().filter(is_protected);
        let mut protected: Vec<String> = protected.map(|step| step.object.name.clone()).collect();
        protected.sort();
        protected.dedup();
        let unknown: Vec<String> = names
            .iter()
            .filter(|name| !protected.contains(name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(UnknownData { unknown, protected });
        }
        for step in &mut self.steps {
            if step.op == Op::Protect && names.contains(&step.object.name) {
                step.op = Op::Delete;
            }
        }
        Ok(())
    }

    /// How many objects of the cluster are touched, the namespace included.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in &self.steps {
            match step.op {
                Op::Same => counts.same += 1,
                Op::Create => counts.create += 1,
                Op::Update => counts.update += 1,
                Op::Replace(_) => counts.replace += 1,
                Op::Delete => counts.delete += 1,
                Op::Prune => counts.prune += 1,
                Op::Retain | Op::Protect => {}
            }
        }
        counts.create += usize::from(self.creates_namespace);
        counts
    }

    /// What happens to the stack as a whole.
    pub fn stack_op(&self) -> Op {
        let all = |op: &Op| self.steps.iter().all(|step| step.op == *op);
        if self.steps.is_empty() {
            Op::Same
        } else if all(&Op::Create) {
            Op::Create
        } else if all(&Op::Delete) {
            Op::Delete
        } else {
            Op::Same
        }
    }

    /// Whether the plan may be carried out.
    pub fn check(&self, take_ownership: bool) -> Result<(), Incomplete> {
        let mut refused: Vec<String> = self
            .steps
            .iter()
            .filter(|step| step.refused.is_some())
            .map(|step| step.object.to_string())
            .collect();
        if self.namespace_refused.is_some() {
            refused.insert(0, format!("Namespace {}", self.namespace()));
        }
        if !refused.is_empty() {
            return Err(Incomplete::Refused(refused));
        }
        let conflicts: Vec<Conflict> = self
            .steps
            .iter()
            .flat_map(|step| step.other_manager_conflicts().cloned())
            .collect();
        if !take_ownership && !conflicts.is_empty() {
            return Err(Incomplete::Conflicts(conflicts));
        }
        Ok(())
    }

    /// Whether what it changes would also be rolled out.
    pub fn check_paused(&self) -> Result<(), Incomplete> {
        let held_back = self.steps.iter().find_map(|step| {
            let paused = step.paused.as_ref().filter(|paused| paused.holds_back)?;
            Some(Incomplete::Paused {
                object: step.object.to_string(),
                by: paused.by.clone(),
            })
        });
        held_back.map_or(Ok(()), Err)
    }

    /// The namespace of the objects.
    pub fn namespace(&self) -> &str {
        let mut all = self.steps.iter();
        all.find_map(|step| step.object.namespace.as_deref())
            .unwrap_or_default()
    }

    /// Whether two plans do the same, so that an approval of one is an approval of the other. What
    /// is left of earlier deployments is not compared: how much of it can go is decided after the
    /// rollout in any case.
    pub fn does_the_same_as(&self, other: &Self) -> bool {
        let fingerprint = |plan: &Self| -> Vec<_> {
            plan.steps
                .iter()
                .filter(|step| !step.is_leftover())
                .map(|step| {
                    // What the API server adds to a new object is another address, port or UID
                    // with every dry run.
                    let diff = (step.op != Op::Create).then(|| step.diff.clone());
                    let Step {
                        object,
                        op,
                        conflicts,
                        uid,
                        ..
                    } = step.clone();
                    (object, op, diff, conflicts, uid)
                })
                .collect()
        };
        self.creates_namespace == other.creates_namespace && fingerprint(self) == fingerprint(other)
    }
}
