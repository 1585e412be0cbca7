//! The plan as a tree, in the look of Pulumi.

use std::time::Duration;

use aip_apply::apply::Progress;
use aip_apply::plan::{Diff, Op, Plan, Step};
use aip_stack::ResolvedImage;
use anstyle::Style;

use crate::ui::style::{self, paint};
use crate::ui::table::columns;

use super::type_token;

/// Project, stack and notices of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StackInfo<'s> {
    pub project: &'s str,
    pub stack: &'s str,
    /// What the operator should know about the configuration.
    pub notices: &'s [String],
    /// What a registry said about the tag of the image.
    pub image: Option<&'s ResolvedImage>,
}

/// Style, marker and verb of an operation; none if it changes nothing.
fn op_look(op: &Op) -> Option<(Style, &'static str, &'static str)> {
    match op {
        Op::Same | Op::Retain | Op::Protect => None,
        Op::Create => Some((style::CREATE, "+ ", "create")),
        Op::Update => Some((style::UPDATE, "~ ", "update")),
        Op::Replace(_) => Some((style::REPLACE, "+-", "replace")),
        Op::Delete => Some((style::DELETE, "- ", "delete")),
        Op::Prune => Some((style::DELETE, "- ", "prune")),
    }
}

/// `+ `, `~ `, `+-` or `- `, coloured; blank if unchanged.
pub(crate) fn marker(op: &Op) -> String {
    op_look(op).map_or_else(
        || "  ".to_owned(),
        |(style, marker, _)| paint(style, marker),
    )
}

/// `create`, `update`, `replace`, `delete`, `prune`; empty if unchanged.
pub(crate) fn verb(op: &Op) -> &'static str {
    op_look(op).map_or("", |(_, _, verb)| verb)
}

fn styled(op: &Op, text: &str) -> String {
    op_look(op).map_or_else(|| text.to_owned(), |(style, ..)| paint(style, text))
}

/// `created (0.08s)`, `updating (5s)`, `**updating failed**`.
pub(crate) fn status(op: &Op, progress: Progress) -> String {
    let stem = verb(op).trim_end_matches('e').to_owned();
    if stem.is_empty() {
        return String::new();
    }
    match progress {
        Progress::Waiting => String::new(),
        Progress::Running(so_far) if so_far < Duration::from_secs(1) => {
            paint(style::BOLD, format!("{stem}ing"))
        }
        Progress::Running(so_far) => paint(style::BOLD, format!("{stem}ing ({})", seconds(so_far))),
        Progress::Done(took) => styled(op, &format!("{stem}ed ({})", seconds(took))),
        Progress::Failed => paint(style::DELETE, format!("**{stem}ing failed**")),
    }
}

/// `0.08s` below one second, `12s` above.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.2}s", duration.as_secs_f64())
    } else {
        format!("{}s", duration.as_secs())
    }
}

/// The tree: unchanged objects are left out, the stack is always there. Without `progress` it is
/// the plan, with it (one per step) the state of the work.
pub(crate) fn tree(
    plan: &Plan,
    stack_info: StackInfo<'_>,
    progress: Option<&[Progress]>,
) -> Vec<String> {
    let stack_op = plan.stack_op();
    let stack_progress = progress.map(overall_progress);
    let cell = |op: &Op, at: Option<Progress>| match at {
        None => styled(op, verb(op)),
        Some(at) => status(op, at),
    };
    let mut children: Vec<Row> = Vec::new();
    if plan.creates_namespace {
        children.push(Row {
            op: Op::Create,
            kind: "kubernetes:core/v1:Namespace".to_owned(),
            name: plan.namespace().to_owned(),
            status: cell(&Op::Create, stack_progress),
            info: plural(usize::from(plan.namespace_refused.is_some()), "error"),
        });
    }
    for (index, step) in plan.steps.iter().enumerate() {
        if step.is_change() || !remarks(step).is_empty() {
            let at = progress.and_then(|all| all.get(index).copied());
            children.push(Row {
                op: step.op.clone(),
                kind: type_token(&step.object),
                name: step.object.logical_name.clone(),
                status: cell(&step.op, at),
                info: info(step),
            });
        }
    }
    let stack_row = |kind: &str, name: String, info: String| Row {
        op: stack_op.clone(),
        kind: kind.to_owned(),
        name,
        status: cell(&stack_op, stack_progress),
        info,
    };
    let mut rows = vec![stack_row(
        "pulumi:pulumi:Stack",
        format!("{}-{}", stack_info.project, stack_info.stack),
        plural(stack_info.notices.len(), "warning"),
    )];
    let component_glyph = "└─ ";
    if stack_op != Op::Same {
        let mut cluster = stack_row(
            "pulumi:providers:kubernetes",
            format!("{}-cluster", stack_info.stack),
            String::new(),
        );
        cluster.kind.insert_str(0, "├─ ");
        rows.push(cluster);
    }
    if stack_op != Op::Same || !children.is_empty() {
        let mut component = stack_row("aip:index:AIPService", "aip".to_owned(), String::new());
        component.kind.insert_str(0, component_glyph);
        rows.push(component);
    }
    let last = children.len().saturating_sub(1);
    rows.extend(children.into_iter().enumerate().map(|(index, mut row)| {
        let glyph = if index == last {
            "   └─ "
        } else {
            "   ├─ "
        };
        row.kind.insert_str(0, glyph);
        row
    }));
    let heading = if progress.is_some() { "Status" } else { "Plan" };
    lines(rows, heading)
}

struct Row {
    op: Op,
    kind: String,
    name: String,
    status: String,
    info: String,
}

fn lines(rows: Vec<Row>, heading: &str) -> Vec<String> {
    let has_info = rows.iter().any(|row| !row.info.is_empty());
    let header = ["Type", "Name", heading, if has_info { "Info" } else { "" }];
    let mut cells = vec![
        std::iter::once("  ".to_owned())
            .chain(header.map(|title| {
                if title.is_empty() {
                    String::new()
                } else {
                    paint(style::HEADER, title)
                }
            }))
            .collect::<Vec<_>>(),
    ];
    cells.extend(
        rows.into_iter()
            .map(|row| vec![marker(&row.op), row.kind, row.name, row.status, row.info]),
    );
    columns(&cells, &[(3, 3)])
        .into_iter()
        .map(|line| format!(" {line}").trim_end().to_owned())
        .collect()
}

/// The stack is done when everything is, and fails with the first failure.
fn overall_progress(progress: &[Progress]) -> Progress {
    let mut longest = Duration::ZERO;
    let mut running = false;
    for at in progress {
        match at {
            Progress::Failed => return Progress::Failed,
            Progress::Waiting => running = true,
            Progress::Running(so_far) => {
                running = true;
                longest = longest.max(*so_far);
            }
            Progress::Done(took) => longest = longest.max(*took),
        }
    }
    if running {
        Progress::Running(longest)
    } else {
        Progress::Done(longest)
    }
}

/// `[diff: +a,b-c~d]`, then what else there is to say.
fn info(step: &Step) -> String {
    let mut parts = Vec::new();
    if let Some(diff) = &step.diff {
        parts.extend(summary(diff));
    }
    parts.extend(remarks(step));
    parts.join("; ")
}

fn summary(diff: &Diff) -> Option<String> {
    let lists = diff.top_level();
    let mut text = String::new();
    for (marker, style, keys) in [
        ('+', style::CREATE, &lists[0]),
        ('-', style::DELETE, &lists[2]),
        ('~', style::UPDATE, &lists[1]),
    ] {
        if !keys.is_empty() {
            text.push_str(&paint(style, format!("{marker}{}", keys.join(","))));
        }
    }
    (!text.is_empty()).then(|| format!("[diff: {text}]"))
}

fn remarks(step: &Step) -> Vec<String> {
    let conflicts = step.other_manager_conflicts().count();
    [
        step.refused.as_ref().map(|_| "1 error".to_owned()),
        (step.op == Op::Prune).then(|| "superseded".to_owned()),
        (step.op == Op::Protect).then(|| "protected, kept".to_owned()),
        step.deleting.as_ref().map(|_| "being deleted".to_owned()),
        step.paused.as_ref().map(|_| "paused".to_owned()),
        (conflicts > 0).then(|| plural(conflicts, "conflict")),
        (!step.drift.is_empty()).then(|| "drift".to_owned()),
        (!step.warnings.is_empty()).then(|| plural(step.warnings.len(), "warning")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
