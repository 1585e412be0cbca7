//! What stands below the tree: remarks about single objects, and the resource counts.

use aip_apply::plan::{Fallback, Plan};
use aip_apply::store::Counts;
use aip_stack::ResolvedImage;

use crate::ui::style::{self, paint};

use super::tree::StackInfo;
use super::type_token;

/// What has to be said about single objects; empty if there is nothing.
pub(crate) fn diagnostics(plan: &Plan, stack_info: StackInfo<'_>) -> Vec<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let stack = format!(
        "pulumi:pulumi:Stack ({}-{})",
        stack_info.project, stack_info.stack
    );
    let warning = |text: &String| format!("{} {text}", paint(style::UPDATE, "warning:"));
    groups.push((stack, stack_info.notices.iter().map(warning).collect()));
    if let Some(why) = &plan.namespace_refused {
        groups.push((
            format!("kubernetes:core/v1:Namespace ({})", plan.namespace()),
            vec![format!("{} {why}", paint(style::DELETE, "error:"))],
        ));
    }
    for step in &plan.steps {
        let mut said: Vec<String> = Vec::new();
        if let Some(why) = &step.refused {
            said.push(format!("{} {why}", paint(style::DELETE, "error:")));
        }
        said.extend(step.deleting.as_ref().map(|deleting| {
            format!(
                "{} it {}; `up` waits until it is gone, then recreates it",
                paint(style::ATTENTION, "deleting:"),
                deleting.text()
            )
        }));
        said.extend(step.paused.as_ref().map(|paused| {
            format!(
                "{} \"{}\" paused it, so nothing is rolled out; resume it with `kubectl rollout resume \
                 deployment/{} --namespace {}`",
                paint(style::ATTENTION, "paused:"),
                paused.by,
                step.object.name,
                step.object.namespace.as_deref().unwrap_or_default()
            )
        }));
        said.extend(step.warnings.iter().map(warning));
        for path in &step.drift {
            let by = step
                .conflicts
                .iter()
                .find(|conflict| conflict.path == *path);
            let by = by.map_or(String::new(), |conflict| {
                format!(" by \"{}\"", conflict.manager)
            });
            let label = paint(style::ATTENTION, "drift:");
            said.push(format!(
                "{label} {path} was changed{by} since it was applied; it will be reverted"
            ));
        }
        for conflict in step.other_manager_conflicts() {
            let label = paint(style::DELETE, "conflict:");
            said.push(format!(
                "{label} {} is owned by \"{}\"",
                conflict.path, conflict.manager
            ));
        }
        said.extend(step.estimated.as_ref().map(estimate));
        groups.push((
            format!(
                "{} ({})",
                type_token(&step.object),
                step.object.logical_name
            ),
            said,
        ));
    }
    let mut lines = Vec::new();
    for (title, said) in groups {
        if !said.is_empty() {
            lines.push(format!("  {title}:"));
            lines.extend(said.into_iter().map(|text| format!("    {text}")));
        }
    }
    lines
}

fn estimate(why: &Fallback) -> String {
    let label = paint(style::INFO, "estimate:");
    match why {
        Fallback::NoNamespace => {
            format!(
                "{label} the namespace does not exist yet, so the API server could not check this"
            )
        }
        Fallback::NoRight => {
            format!(
                "{label} no permission to write this object, so the API server could not compute it"
            )
        }
        Fallback::Webhook(name) => {
            format!("{label} {name} refuses dry runs, so the API server could not compute this")
        }
    }
}

/// The image with its digest, and the digest of its tag before.
pub(crate) fn image_lines(image: &ResolvedImage) -> Vec<String> {
    let moved = image.moved_from.as_ref().map(|before| {
        let label = paint(style::ATTENTION, "moved:");
        format!("    {label} the tag was {before} when it was deployed last")
    });
    std::iter::once(format!("    {}", image.image))
        .chain(moved)
        .collect()
}

/// Whether the resource counts are of a plan or of work done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tense {
    /// `1 to update`
    Planned,
    /// `1 updated`
    Done,
}

pub(crate) fn summary_lines(counts: Counts, tense: Tense, errored: usize) -> Vec<String> {
    let kinds = [
        (counts.create, style::CREATE, "+ ", "create"),
        (counts.update, style::UPDATE, "~ ", "update"),
        (counts.delete, style::DELETE, "- ", "delete"),
        (counts.replace, style::REPLACE, "+-", "replace"),
    ];
    let mut lines = Vec::new();
    for (count, style, marker, verb) in kinds {
        if count > 0 {
            let what = match tense {
                Tense::Planned => format!("to {verb}"),
                Tense::Done => format!("{verb}d"),
            };
            lines.push(format!(
                "    {}",
                paint(style, format!("{marker}{count} {what}"))
            ));
        }
    }
    let mut last = String::new();
    if lines.len() > 1 {
        last = format!(
            "{}. ",
            paint(style::BOLD, format!("{} changes", counts.changes()))
        );
    }
    if counts.same > 0 {
        last.extend([&counts.same.to_string(), " unchanged"]);
    }
    if !last.is_empty() {
        lines.push(format!("    {}", last.trim_end()));
    }
    if counts.prune > 0 {
        let what = match tense {
            Tense::Planned => "to prune",
            Tense::Done => "pruned",
        };
        lines.push(format!("    {} superseded {what}", counts.prune));
    }
    if errored > 0 {
        lines.push(format!(
            "    {}",
            paint(style::DELETE, format!("{errored} errored"))
        ));
    }
    lines
}
