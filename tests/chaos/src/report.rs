//! What a run prints, and the file that keeps the figures.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table};
use harness::machine::Machine;
use serde::Serialize;

use crate::run::Outcome;

/// So many ways to fail are shown, the most frequent ones.
const MAX_SHOWN_FAILURES: usize = 8;

/// The file.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) bench: &'static str,
    pub(crate) commit: String,
    pub(crate) machine: Machine,
    pub(crate) runs: &'a [Outcome],
}

impl Report<'_> {
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Prints a line. That nobody reads it is no failure.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints the table and every bound.
pub(crate) fn print(outcome: &Outcome) {
    let mut table = Table::new();
    let head = [
        "fault",
        "count",
        "sessions lost",
        "of at most",
        "requests failed",
        "longest stall",
    ];
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(head);
    for row in &outcome.faults {
        table.add_row([
            row.fault.to_owned(),
            row.count.to_string(),
            row.sessions_lost.to_string(),
            row.sessions_allowed.to_string(),
            row.requests_failed.to_string(),
            format!("{:.1} s", row.longest_stall.as_secs_f64()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say(&format!(
        "\n{}: seed {}, {} sessions, {} s, {} requests answered\n{table}\n",
        outcome.run, outcome.seed, outcome.sessions, outcome.seconds, outcome.requests_answered
    ));
    let mut failures: Vec<_> = outcome.records.failures.iter().collect();
    failures.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (how, count) in failures.into_iter().take(MAX_SHOWN_FAILURES) {
        say(&format!("{count:>6} failed: {how}"));
    }
    for check in &outcome.checks {
        let verdict = if check.holds { "ok" } else { "not ok" };
        say(&format!("{verdict} - {}", check.rule));
        for what in check.broken_by.iter().take(MAX_SHOWN_FAILURES) {
            say(&format!("         {what}"));
        }
        if let Some(more @ 1..) = check.broken_by.len().checked_sub(MAX_SHOWN_FAILURES) {
            say(&format!("         and {more} more"));
        }
    }
}
