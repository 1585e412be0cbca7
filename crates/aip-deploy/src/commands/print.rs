//! Prints plans and results: headings, tree or details, diagnostics, figures.

use std::time::Duration;

use serde_json::Value;

use crate::guard::GuardedCluster;
use crate::outputs::Address;
use crate::plan::summary::{Tense, diagnostics, figures};
use crate::plan::tree::{Names, Progress, tree};
use crate::plan::{Plan, details, json};
use crate::ui::Screen;
use crate::ui::style::{self, paint};

/// Prints a plan under its heading.
pub fn plan(
    screen: &Screen,
    heading: &str,
    plan: &Plan,
    names: Names<'_>,
    cluster: &GuardedCluster,
    with_details: bool,
) {
    let stack = names.stack;
    screen.line(format!("{} ({stack}):", paint(style::HEADLINE, heading)));
    if with_details {
        screen.lines(details::details(plan, names, cluster.uid()));
    } else {
        screen.lines(tree(plan, names, None));
        screen.line("");
    }
    remarks(screen, plan, names);
    screen.line(paint(style::HEADLINE, "Resources:"));
    screen.lines(figures(plan.counts(), Tense::Planned, 0));
}

/// Prints what came of it.
pub fn result(
    screen: &Screen,
    heading: &str,
    plan: &Plan,
    names: Names<'_>,
    progress: &[Progress],
    took: Duration,
    address: Option<&Address>,
) {
    let stack = names.stack;
    screen.line(format!("{} ({stack}):", paint(style::HEADLINE, heading)));
    screen.lines(tree(plan, names, Some(progress)));
    screen.line("");
    let errored = progress
        .iter()
        .filter(|at| **at == Progress::Failed)
        .count();
    if let Some(address) = address {
        let value = address.known().map_or_else(
            || "not assigned yet; `aip-deploy stack output address` asks again".to_owned(),
            |known| format!("\"{known}\""),
        );
        screen.line(paint(style::HEADLINE, "Outputs:"));
        screen.line(format!("    {}: {value}", Address::NAME));
        screen.line("");
    }
    screen.line(paint(style::HEADLINE, "Resources:"));
    screen.lines(figures(plan.counts(), Tense::Done, errored));
    screen.line("");
    let seconds = took.as_secs() + u64::from(took.subsec_nanos() > 0);
    screen.line(format!(
        "{} {seconds}s",
        paint(style::HEADLINE, "Duration:")
    ));
}

/// Prints a plan for programs.
pub fn digest(screen: &Screen, plan: &Plan, names: Names<'_>) {
    let digest: Value = json::digest(plan, names);
    screen.line(format!("{digest:#}"));
}

fn remarks(screen: &Screen, plan: &Plan, names: Names<'_>) {
    let remarks = diagnostics(plan, names);
    if !remarks.is_empty() {
        screen.line(paint(style::HEADLINE, "Diagnostics:"));
        screen.lines(remarks);
        screen.line("");
    }
}
