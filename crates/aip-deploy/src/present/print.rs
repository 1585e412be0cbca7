//! Prints plans and results: headings, tree or details, diagnostics, counts.

use std::time::Duration;

use aip_apply::apply::Progress;
use aip_apply::cluster::GuardedCluster;
use aip_apply::plan::Plan;

use crate::outputs::Address;
use crate::present::summary::{Tense, diagnostics, image_lines, summary_lines};
use crate::present::tree::{StackInfo, tree};
use crate::present::{details, resource_counts};
use crate::ui::Screen;
use crate::ui::style::{self, paint};

/// Prints tree or details, diagnostics and the resource counts of a plan.
pub(crate) fn plan(
    screen: &Screen,
    heading: &str,
    plan: &Plan,
    stack_info: StackInfo<'_>,
    cluster: &GuardedCluster,
    with_details: bool,
) {
    let stack = stack_info.stack;
    screen.line(format!("{} ({stack}):", paint(style::HEADLINE, heading)));
    if with_details {
        screen.lines(details::details(plan, stack_info, cluster.uid()));
    } else {
        screen.lines(tree(plan, stack_info, None));
        screen.line("");
    }
    diagnostics_section(screen, plan, stack_info);
    if let Some(image) = stack_info.image {
        screen.line(paint(style::HEADLINE, "Image:"));
        screen.lines(image_lines(image));
        screen.line("");
    }
    screen.line(paint(style::HEADLINE, "Resources:"));
    screen.lines(summary_lines(
        resource_counts(plan.counts()),
        Tense::Planned,
        0,
    ));
}

/// Prints the tree with results, outputs, counts and duration.
pub(crate) fn result(
    screen: &Screen,
    heading: &str,
    plan: &Plan,
    stack_info: StackInfo<'_>,
    progress: &[Progress],
    took: Duration,
    address: Option<&Address>,
) {
    let stack = stack_info.stack;
    screen.line(format!("{} ({stack}):", paint(style::HEADLINE, heading)));
    screen.lines(tree(plan, stack_info, Some(progress)));
    screen.line("");
    let errored = progress
        .iter()
        .filter(|at| **at == Progress::Failed)
        .count();
    if let Some(address) = address {
        let value = address.known().map_or_else(
            || "not assigned yet; run `aip-deploy stack output address` later".to_owned(),
            |known| format!("\"{known}\""),
        );
        screen.line(paint(style::HEADLINE, "Outputs:"));
        screen.line(format!("    {}: {value}", Address::NAME));
        screen.line("");
    }
    screen.line(paint(style::HEADLINE, "Resources:"));
    screen.lines(summary_lines(
        resource_counts(plan.counts()),
        Tense::Done,
        errored,
    ));
    screen.line("");
    let seconds = took.as_secs() + u64::from(took.subsec_nanos() > 0);
    screen.line(format!(
        "{} {seconds}s",
        paint(style::HEADLINE, "Duration:")
    ));
}

fn diagnostics_section(screen: &Screen, plan: &Plan, stack_info: StackInfo<'_>) {
    let diagnostics_section = diagnostics(plan, stack_info);
    if !diagnostics_section.is_empty() {
        screen.line(paint(style::HEADLINE, "Diagnostics:"));
        screen.lines(diagnostics_section);
        screen.line("");
    }
}
