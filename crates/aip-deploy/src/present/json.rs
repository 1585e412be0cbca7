//! `preview --json`: the plan for programs, in the words of Pulumi's digest.

use aip_apply::plan::mask::Redacted;
use aip_apply::plan::{Diff, Fallback, Plan, Step};
use serde_json::{Map, Value, json};

use super::tree::{StackInfo, verb};
use super::{resource_counts, type_token};

/// The whole plan as one JSON object. It holds no value of a secret.
pub(crate) fn to_json(plan: &Plan, stack_info: StackInfo<'_>) -> Value {
    let counts = resource_counts(plan.counts());
    let mut summary = Map::new();
    for (name, count) in [
        ("create", counts.create),
        ("update", counts.update),
        ("delete", counts.delete),
        ("replace", counts.replace),
        ("prune", counts.prune),
        ("same", counts.same),
    ] {
        if count > 0 {
            summary.insert(name.to_owned(), count.into());
        }
    }
    let diagnostics: Vec<Value> = stack_info
        .notices
        .iter()
        .map(|notice| json!({"severity": "warning", "message": notice}))
        .collect();
    let image = stack_info
        .image
        .map(|image| json!({"reference": image.image, "movedFrom": image.moved_from}));
    let mut plan = json!({
        "project": stack_info.project,
        "stack": stack_info.stack,
        "createsNamespace": plan.creates_namespace,
        "namespaceError": plan.namespace_refused,
        "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
        "diagnostics": diagnostics,
        "changeSummary": summary,
        "complete": plan.check(false).is_ok(),
    });
    if let Some(image) = image {
        plan["image"] = image;
    }
    plan
}

fn step(step: &Step) -> Value {
    let mut detailed = Map::new();
    if let Some(diff) = &step.diff {
        flatten(&mut String::new(), diff, &mut detailed);
    }
    let op = match verb(&step.op) {
        "" => "same",
        verb => verb,
    };
    let reasons = step.diff.as_ref().map(Diff::top_level).unwrap_or_default();
    json!({
        "op": op,
        "type": type_token(&step.object),
        "name": step.object.logical_name,
        "id": step.object.id(),
        "diffReasons": reasons.concat(),
        "detailedDiff": detailed,
        "drift": step.drift,
        "conflicts": step.conflicts.iter().map(|conflict| json!({
            "field": conflict.path,
            "manager": conflict.manager,
            "drift": conflict.previously_owned,
        })).collect::<Vec<_>>(),
        "warnings": step.warnings,
        "error": step.refused,
        "deleting": step.deleting.as_ref().map(|deleting| json!({"finalizers": deleting.finalizers})),
        "pausedBy": step.paused.as_ref().map(|paused| &paused.by),
        "estimated": step.estimated.as_ref().map(|why| match why {
            Fallback::NoNamespace => "no-namespace",
            Fallback::NoRight => "forbidden",
            Fallback::Webhook(_) => "webhook",
        }),
    })
}

fn flatten(path: &mut String, diff: &Diff, into: &mut Map<String, Value>) {
    let length = path.len();
    let entry = |kind: &str, old: Option<&Redacted>, new: Option<&Redacted>| json!({"kind": kind, "old": old.map(value), "new": new.map(value)});
    let leaf = match diff {
        Diff::Added(new) => entry("add", None, Some(new)),
        Diff::Removed(old) => entry("delete", Some(old), None),
        Diff::Changed(old, new) => entry("update", Some(old), Some(new)),
        Diff::SecretUnchanged => return,
        Diff::Map(entries) => {
            for (key, below) in entries {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                flatten(path, below, into);
                path.truncate(length);
            }
            return;
        }
        Diff::List(items) => {
            for (index, below) in items {
                path.extend(["[", &index.to_string(), "]"]);
                flatten(path, below, into);
                path.truncate(length);
            }
            return;
        }
        Diff::Embedded(_, below) => return flatten(path, below, into),
    };
    into.insert(path.clone(), leaf);
}

fn value(shown: &Redacted) -> Value {
    match shown {
        Redacted::Plain(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
        Redacted::String(text) => text.clone().into(),
        Redacted::Secret => "[secret]".into(),
        Redacted::List(items) => items.iter().map(value).collect(),
        Redacted::Map(entries) => entries
            .iter()
            .map(|(key, shown)| (key.clone(), value(shown)))
            .collect(),
    }
}
