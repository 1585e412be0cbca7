//! What an import says at its end.

use std::collections::BTreeMap;

use aip_import_v2::{MAX_LISTED_ROWS, Mode, Report, SkippedRow};
use serde::Serialize;

use crate::output::{self, Format, Row};

/// The report for programs.
#[derive(Serialize)]
struct ReportJson<'a> {
    dry_run: bool,
    finished: bool,
    clients: Clients,
    sessions: u64,
    app_passwords: u64,
    access_tokens: u64,
    refresh_tokens: u64,
    unchanged_sessions: u64,
    released_before: u64,
    dropped_sessions: u64,
    held_sessions: u64,
    released_sessions: u64,
    signing_keys: &'a [String],
    left_out: Vec<PrintedRow<'a>>,
    /// Rows by reason, those that are not listed too.
    left_out_counts: &'a BTreeMap<&'static str, u64>,
    /// The first ones.
    notes: &'a [String],
    notes_total: u64,
    /// How to go on handing tokens of PDSs to apps, as v2 did.
    credentials_commands: Vec<String>,
}

#[derive(Serialize)]
struct Clients {
    new: u64,
    changed: u64,
    unchanged: u64,
}

#[derive(Serialize)]
struct PrintedRow<'a> {
    table: &'static str,
    row: &'a str,
    reason: &'static str,
    detail: &'a str,
}

impl<'a> From<&'a SkippedRow> for PrintedRow<'a> {
    fn from(row: &'a SkippedRow) -> Self {
        Self {
            table: row.table,
            row: &row.row,
            reason: row.reason.as_str(),
            detail: &row.detail,
        }
    }
}

impl Row for PrintedRow<'_> {
    const COLUMNS: &'static [&'static str] = &["table", "row", "reason", "detail"];
    const NONE: &'static str = "Nothing was left out.";

    fn cells(&self) -> Vec<String> {
        [self.table, self.row, self.reason, self.detail]
            .map(str::to_owned)
            .to_vec()
    }
}

pub(super) fn print(
    report: &Report,
    mode: Mode,
    kids: &[String],
    format: Format,
) -> anyhow::Result<()> {
    let left_out: Vec<PrintedRow<'_>> = report.left_out.iter().map(Into::into).collect();
    if format == Format::Json {
        return output::json(&report_json(report, mode, kids, left_out));
    }
    output::members(&counts(report))?;
    format.list(&left_out)?;
    let total = report.skipped_total();
    if report.left_out.len() >= MAX_LISTED_ROWS {
        output::print_status(&format!(
            "{total} rows were left out; the first {MAX_LISTED_ROWS} are listed."
        ));
    }
    for note in &report.notes {
        output::print_status(note);
    }
    if report.notes_total > report.notes.len() as u64 {
        output::print_status(&format!(
            "There are {} such notes; the first {MAX_LISTED_ROWS} are listed.",
            report.notes_total
        ));
    }
    let commands = credentials_commands(report);
    if !commands.is_empty() {
        output::print_status(
            "Apps get no tokens of PDSs from /api/atprotocol/session, as v2 gave them. For those that \
             need them:",
        );
        for command in &commands {
            output::print_status(command);
        }
    }
    output::print_status(&next_step(report, mode));
    Ok(())
}

fn report_json<'a>(
    report: &'a Report,
    mode: Mode,
    kids: &'a [String],
    left_out: Vec<PrintedRow<'a>>,
) -> ReportJson<'a> {
    ReportJson {
        dry_run: mode == Mode::DryRun,
        finished: matches!(mode, Mode::Finish { .. }),
        clients: Clients {
            new: report.clients_new,
            changed: report.clients_changed,
            unchanged: report.clients_unchanged,
        },
        sessions: report.sessions_taken,
        app_passwords: report.app_passwords_taken,
        access_tokens: report.access_tokens_taken,
        refresh_tokens: report.refresh_tokens_taken,
        unchanged_sessions: report.unchanged,
        released_before: report.released_before,
        dropped_sessions: report.dropped,
        held_sessions: report.held,
        released_sessions: report.released,
        signing_keys: kids,
        left_out,
        left_out_counts: &report.left_out_counts,
        notes: &report.notes,
        notes_total: report.notes_total,
        credentials_commands: credentials_commands(report),
    }
}

fn counts(report: &Report) -> Vec<(&'static str, String)> {
    let counts = [
        ("clients_new", report.clients_new),
        ("clients_changed", report.clients_changed),
        ("clients_unchanged", report.clients_unchanged),
        ("sessions", report.sessions_taken),
        ("app_passwords", report.app_passwords_taken),
        ("access_tokens", report.access_tokens_taken),
        ("refresh_tokens", report.refresh_tokens_taken),
        ("unchanged_sessions", report.unchanged),
        ("released_before", report.released_before),
        ("dropped_sessions", report.dropped),
        ("held_sessions", report.held),
        ("released_sessions", report.released),
        ("left_out", report.skipped_total()),
    ];
    counts
        .map(|(name, count)| (name, count.to_string()))
        .to_vec()
}

fn credentials_commands(report: &Report) -> Vec<String> {
    let commands = report
        .clients_without_credentials
        .iter()
        .map(|(client, scope)| {
            let client = shell_word(client.as_str());
            let scope = format!("{scope} aip:credentials");
            let scope = shell_word(scope.trim_start());
            format!("aip clients update {client} --scope {scope}")
        });
    commands.collect()
}

/// A word as a POSIX shell reads it (XCU 2.2): ids and scopes come from v2's database, and the command is
/// there to be copied.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn next_step(report: &Report, mode: Mode) -> String {
    match mode {
        Mode::DryRun => "This was a dry run: nothing was written.".to_owned(),
        Mode::Hold => format!(
            "{} session(s) are held, and v2 goes on. To change over: stop every v2 server, run this \
             again with --finish, start AIP.",
            report.held
        ),
        Mode::Finish { .. } => format!(
            "{} session(s) are AIP's own from now on. Do not start v2 again.",
            report.released
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_command_whatever_v2_has() {
        for (client, scope, command) in [
            (
                "18841372-4202",
                "atproto",
                "aip clients update 18841372-4202 --scope 'atproto aip:credentials'",
            ),
            (
                "a;reboot",
                "atproto",
                "aip clients update 'a;reboot' --scope 'atproto aip:credentials'",
            ),
            (
                "$(reboot)'`reboot`",
                "it's",
                r"aip clients update '$(reboot)'\''`reboot`' --scope 'it'\''s aip:credentials'",
            ),
            ("app", "", "aip clients update app --scope aip:credentials"),
        ] {
            let report = Report {
                clients_without_credentials: vec![(
                    client.parse().unwrap(),
                    scope.parse().unwrap(),
                )],
                ..Report::default()
            };
            assert_eq!(credentials_commands(&report), [command]);
        }
    }
}
