//! The plan with every changed field: what `--diff` and the answer `details` print.

use aip_apply::plan::mask::Redacted;
use aip_apply::plan::{Diff, Op, Plan, Step};

use crate::ui::style::{self, paint};

use super::tree::{StackInfo, marker, verb};
use super::type_token;

/// Prints the difference of every changed object. `cluster_uid` stands where Pulumi has the id of
/// its provider.
pub(crate) fn details(plan: &Plan, stack_info: StackInfo<'_>, cluster_uid: &str) -> Vec<String> {
    let StackInfo { project, stack, .. } = stack_info;
    let urn = format!("urn:pulumi:{stack}::{project}::");
    let stack_op = plan.stack_op();
    let mut page = Page::default();
    page.line(
        0,
        &marker(&stack_op),
        &format!("pulumi:pulumi:Stack: ({})", stack_verb(&stack_op)),
    );
    page.line(
        2,
        "  ",
        &format!("[urn={urn}pulumi:pulumi:Stack::{project}-{stack}]"),
    );
    for step in plan.steps.iter().filter(|step| step.is_change()) {
        let token = type_token(&step.object);
        page.line(
            4,
            &marker(&step.op),
            &format!("{token}: ({})", verb(&step.op)),
        );
        let id = match &step.op {
            Op::Create => None,
            Op::Replace(old) => Some(old.id()),
            _ => Some(step.object.id()),
        };
        if let Some(id) = id {
            page.line(6, "  ", &format!("[id={id}]"));
        }
        page.line(
            6,
            "  ",
            &format!(
                "[urn={urn}aip:index:AIPService${token}::{}]",
                step.object.logical_name
            ),
        );
        page.line(
            6,
            "  ",
            &format!("[provider={urn}pulumi:providers:kubernetes::{stack}-cluster::{cluster_uid}]"),
        );
        body(&mut page, step);
    }
    page.lines
}

fn stack_verb(op: &Op) -> &'static str {
    match verb(op) {
        "" => "same",
        other => other,
    }
}

fn body(page: &mut Page, step: &Step) {
    match (&step.diff, &step.op) {
        (Some(Diff::Added(Redacted::Map(entries))), _) => {
            page.entries(6, Mark::None, entries);
        }
        (Some(Diff::Map(entries)), _) => page.map(6, entries),
        _ => {}
    }
}

/// The marker before a changed field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Added,
    Removed,
    Changed,
}

impl Mark {
    fn marker(self) -> String {
        match self {
            Self::None => "  ".to_owned(),
            Self::Added => paint(style::CREATE, "+ "),
            Self::Removed => paint(style::DELETE, "- "),
            Self::Changed => paint(style::UPDATE, "~ "),
        }
    }
}

/// Lines under construction. A column is where the sign stands; the text stands two further.
#[derive(Default)]
struct Page {
    lines: Vec<String>,
}

impl Page {
    fn line(&mut self, column: usize, marker: &str, text: &str) {
        let blanks = " ".repeat(column);
        self.lines.push(format!("{blanks}{marker}{text}"));
    }

    fn map(&mut self, column: usize, entries: &[(String, Diff)]) {
        let longest = entries.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, below) in entries {
            self.change(column, &format!("{key:longest$}: "), below, 4);
        }
    }

    /// `inset` is how much further the content of a map or list stands: items of a list take
    /// more, because their number stands before them.
    fn change(&mut self, column: usize, label: &str, change: &Diff, inset: usize) {
        match change {
            Diff::Added(value) => self.shown(column, Mark::Added, label, value),
            Diff::Removed(value) => self.shown(column, Mark::Removed, label, value),
            Diff::SecretUnchanged => {
                self.line(column, "  ", &format!("{label}[secret] (unchanged)"));
            }
            Diff::Changed(Redacted::Secret, Redacted::Secret) => {
                let text = format!("{label}[secret] => [secret] (changed)");
                self.line(column, &Mark::Changed.marker(), &text);
            }
            Diff::Changed(old, new) => {
                if let (Some(old), Some(new)) = (leaf(old), leaf(new)) {
                    let text = format!("{label}{old} => {new}");
                    self.line(column, &Mark::Changed.marker(), &text);
                } else {
                    self.shown(column, Mark::Removed, label, old);
                    self.shown(column, Mark::Added, label, new);
                }
            }
            Diff::Map(entries) => {
                self.line(column, &Mark::Changed.marker(), &format!("{label}{{"));
                self.map(column + inset, entries);
                self.line(column + inset - 4, "  ", "}");
            }
            Diff::List(items) => {
                self.line(column, &Mark::Changed.marker(), &format!("{label}["));
                for (index, below) in items {
                    self.change(column + inset, &format!("[{index}]: "), below, 8);
                }
                self.line(column + inset - 4, "  ", "]");
            }
            Diff::Embedded(format, below) => {
                self.change(column, &format!("{label}{} ", format.label()), below, inset);
            }
        }
    }

    fn entries(&mut self, column: usize, mark: Mark, entries: &[(String, Redacted)]) {
        let visible = || entries.iter().filter(|(_, value)| !value.is_empty());
        let longest = visible().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in visible() {
            self.shown(column, mark, &format!("{key:longest$}: "), value);
        }
    }

    fn shown(&mut self, column: usize, mark: Mark, label: &str, value: &Redacted) {
        let marker = mark.marker();
        if let Some(text) = leaf(value) {
            self.line(column, &marker, &format!("{label}{text}"));
            return;
        }
        match value {
            Redacted::Map(entries) => {
                self.line(column, &marker, &format!("{label}{{"));
                self.entries(column + 4, mark, entries);
                self.line(column, "  ", "}");
            }
            Redacted::List(items) => {
                self.line(column, &marker, &format!("{label}["));
                for (index, item) in items.iter().enumerate() {
                    self.shown(column + 4, mark, &format!("[{index}]: "), item);
                }
                self.line(column, "  ", "]");
            }
            Redacted::Plain(_) | Redacted::String(_) | Redacted::Secret => {}
        }
    }
}

fn leaf(value: &Redacted) -> Option<String> {
    match value {
        Redacted::Plain(text) => Some(text.clone()),
        Redacted::String(text) => Some(quoted(text)),
        Redacted::Secret => Some("[secret]".to_owned()),
        Redacted::List(items) if items.is_empty() => Some("[]".to_owned()),
        Redacted::Map(entries) if entries.is_empty() => Some("{}".to_owned()),
        Redacted::List(_) | Redacted::Map(_) => None,
    }
}

/// As JSON writes it: what an object brings along cannot move the cursor.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
