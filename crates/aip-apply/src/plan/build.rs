//! Builds the plan from what is desired, what was observed, and what the inventory still lists.

use aip_stack::config::fields::CNPG_BACKUP;
use aip_stack::desired::{Desired, ObjectRef, PROTECT_ANNOTATION};
use serde_json::Value;

use crate::store::OwnedObject;

use super::condition::is_protected;
use super::diff::diff;
use super::mask::Mask;
use super::server_fields::strip_server_fields;
use super::{Deleting, Observed, Op, Paused, Plan, Proposed, Step, fields, references};

/// What is left of earlier runs: an object of the inventory that is not desired any more.
#[derive(Clone)]
pub struct Stale {
    /// API version, kind, namespace and name.
    pub object: ObjectRef,
    /// The object as it is; none if it is gone already.
    pub live: Option<Value>,
}

/// State of the namespace in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// It exists.
    Exists,
    /// It is created first.
    Created,
    /// It does not exist and cannot be created, because of this.
    Refused(String),
}

/// Makes the plan. `replica_sets` are those of the namespace: a Secret that one of them refers to
/// is kept, because a rollback needs it.
pub fn build(
    desired: Vec<(Desired, Observed)>,
    stale: Vec<Stale>,
    replica_sets: &[Value],
    namespace: Namespace,
) -> Plan {
    let referred = references::secrets_of(replica_sets);
    let mut steps: Vec<Step> = desired
        .into_iter()
        .map(|(desired, observed)| step(desired, observed))
        .collect();
    for step in &mut steps {
        reclaim_replicas(step, &stale);
    }
    let mut left: Vec<Stale> = stale
        .into_iter()
        .filter(|stale| stale.live.is_some())
        .collect();
    for step in &mut steps {
        replace(step, &left);
    }
    left.sort_by(|a, b| a.object.cmp(&b.object));
    for stale in left {
        let replaced = steps
            .iter()
            .any(|step| matches!(&step.op, Op::Replace(old) if old.is_same_object(&stale.object)));
        let retained = stale.object.kind == "Secret" && referred.contains(&stale.object.name);
        let superseded = steps
            .iter()
            .any(|step| step.desired.is_some() && is_version_of(&stale.object, &step.object));
        let op = if stale
            .live
            .as_ref()
            .is_some_and(|live| is_protected(&stale.object, live))
        {
            Op::Protect
        } else if replaced || retained {
            Op::Retain
        } else if superseded {
            Op::Prune
        } else {
            Op::Delete
        };
        let warnings = Vec::from_iter(protected_backup_note(&stale.object, &op, &steps));
        steps.push(Step {
            warnings,
            ..Step::new(stale.object, op, stale.live.as_ref())
        });
    }
    Plan {
        creates_namespace: namespace != Namespace::Exists,
        namespace_refused: match namespace {
            Namespace::Refused(why) => Some(why),
            Namespace::Exists | Namespace::Created => None,
        },
        steps,
    }
}

/// What is to be said of the schedule of backups and of their access key, when the Cluster goes on without backups:
/// both are protected, and the operator goes on trying.
fn protected_backup_note(object: &ObjectRef, op: &Op, steps: &[Step]) -> Option<String> {
    let is_cluster = |step: &Step| {
        let group = step.object.group();
        (group, step.object.kind.as_str()) == ("postgresql.cnpg.io", "Cluster")
            && step.desired.is_some()
            && step.object.name == object.name
    };
    let what = match object.kind.as_str() {
        "ScheduledBackup" => "its backups fail from now on",
        "Secret" => "the access key stays in it",
        _ => return None,
    };
    if *op != Op::Protect || !steps.iter().any(is_cluster) {
        return None;
    }
    let namespace = object.namespace.as_deref().unwrap_or_default();
    Some(format!(
        "the stack has no {} any more, but it is protected and kept, and {what}: set that again, or run `kubectl \
         annotate --namespace {namespace} {}/{} {PROTECT_ANNOTATION}-`, after which `up` deletes it",
        CNPG_BACKUP.path(),
        object.kind.to_lowercase(),
        object.name
    ))
}

/// A stack that has no autoscaler any more takes the number of replicas back from it.
fn reclaim_replicas(step: &mut Step, stale: &[Stale]) {
    let ours = stale.iter().any(|stale| {
        stale.object.kind == "HorizontalPodAutoscaler" && stale.object.name == step.object.name
    });
    if step.object.kind == "Deployment" && ours {
        let conflicts = step.conflicts.iter_mut();
        for conflict in conflicts.filter(|conflict| conflict.path == fields::REPLICAS_PATH) {
            conflict.previously_owned = true;
        }
    }
}

fn step(desired: Desired, mut observed: Observed) -> Step {
    let deleting = observed.live.as_ref().and_then(Deleting::of);
    if deleting.is_some() {
        // The name is taken until it is gone, but nothing of it stays: what is compared with is
        // nothing, and what a dry run made of it does not count.
        observed.live = None;
        observed.proposed = Proposed::Server(desired.manifest().clone());
        observed.applied = None;
    }
    if observed.finished {
        return finished(desired, observed);
    }
    let mask = Mask::for_kind(&desired.object().kind);
    let (proposed, conflicts, estimated, refused) = match observed.proposed {
        Proposed::Server(value) => (Some(value), Vec::new(), None, None),
        Proposed::Forced(value, conflicts) => (Some(value), conflicts, None, None),
        Proposed::Estimate(value, why) => (Some(value), Vec::new(), Some(why), None),
        Proposed::Refused(why) => (None, Vec::new(), None, Some(why)),
    };
    let paused = observed
        .live
        .as_ref()
        .and_then(|live| Paused::of(live, proposed.as_ref()));
    let before = observed.live.as_ref().map(strip_server_fields);
    let change = proposed.as_ref().and_then(|proposed| {
        diff(
            before.as_ref().unwrap_or(&Value::Null),
            &strip_server_fields(proposed),
            mask,
        )
    });
    let op = match (&before, &change) {
        (None, _) => Op::Create,
        (Some(_), Some(_)) => Op::Update,
        (Some(_), None) => Op::Same,
    };
    let drift = match (&observed.applied, &observed.live, &change) {
        (Some(applied), Some(live), Some(_)) => fields::lost_fields(applied, live),
        _ => Vec::new(),
    };
    let object = desired.object().clone();
    Step {
        desired: Some(desired),
        owned: observed
            .live
            .as_ref()
            .is_some_and(|live| !fields::owned(live).is_null()),
        diff: change,
        drift,
        conflicts,
        warnings: observed.warnings,
        estimated,
        refused,
        autoscaler_replicas: observed.autoscaler_replicas,
        deleting,
        paused,
        ..Step::new(object, op, observed.live.as_ref())
    }
}

/// A Job that came to its end has nothing to do, be it still there or cleaned away.
fn finished(desired: Desired, observed: Observed) -> Step {
    let object = desired.object().clone();
    Step {
        desired: Some(desired),
        warnings: observed.warnings,
        ..Step::new(object, Op::Same, observed.live.as_ref())
    }
}

/// A new Secret whose forerunner is still there replaces it: one line instead of two, and a
/// difference instead of a whole object.
fn replace(step: &mut Step, stale: &[Stale]) {
    let Some(old) = stale
        .iter()
        .rev()
        .find(|stale| step.op == Op::Create && is_version_of(&stale.object, &step.object))
    else {
        return;
    };
    let (Some(live), Some(desired)) = (&old.live, &step.desired) else {
        return;
    };
    let mask = Mask::for_kind(&step.object.kind);
    let content = |value: &Value| {
        let mut value = strip_server_fields(value);
        // Of a Secret only the content is compared: names differ by definition.
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| key == "data" || key == "stringData");
        }
        value
    };
    step.diff = diff(&content(live), &content(desired.manifest()), mask);
    step.op = Op::Replace(old.object.clone());
}

/// Whether two objects are one in the eyes of a reader, with names that follow from their content.
fn is_version_of(one: &ObjectRef, other: &ObjectRef) -> bool {
    one.kind == other.kind
        && one.logical_name == other.logical_name
        && one.namespace == other.namespace
}

/// The objects of the inventory, intents included, that are not desired: candidates for pruning.
/// Last good first, then intents in order, each object once.
pub fn not_desired<'i>(
    owned: &'i [OwnedObject],
    intents: impl Iterator<Item = &'i ObjectRef>,
    desired: &[Desired],
) -> Vec<ObjectRef> {
    let mut stale: Vec<ObjectRef> = Vec::new();
    for object in owned.iter().map(|recorded| &recorded.object).chain(intents) {
        let mut known = desired.iter().map(Desired::object).chain(&stale);
        if !known.any(|other| other.is_same_object(object)) {
            stale.push(object.clone());
        }
    }
    stale
}
