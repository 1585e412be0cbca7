//! What is printed: results on standard output, talk on standard error. All of it goes through
//! here.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use crate::failure::Failure;

const ERROR: Style = AnsiColor::Red.on_default().bold();

/// How results are printed: for people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// A result with columns. Its JSON has a member for each of them.
pub(crate) trait Row: Serialize {
    /// The heads of the columns.
    const COLUMNS: &'static [&'static str];

    /// The cells, one for each column.
    fn cells(&self) -> Vec<String>;
}

impl Format {
    /// Prints any number of results: a line each, or one JSON array.
    pub(crate) fn list<R: Row>(self, rows: &[R]) -> anyhow::Result<()> {
        match self {
            Self::Json => json(rows),
            Self::Table => {
                let heads = R::COLUMNS.iter().map(|head| head.to_uppercase());
                let mut table = Table::new();
                table.load_style(NOTHING).set_header(heads);
                table.add_rows(rows.iter().map(Row::cells));
                text(&table.trim_fmt())
            }
        }
    }
}

/// Prints a value as JSON, for people to read as well.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    text(&serde_json::to_string_pretty(value)?)
}

/// Prints one result for people: a line for each member of its JSON object.
pub(crate) fn members<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if let serde_json::Value::Object(members) = serde_json::to_value(value)? {
        for (name, value) in members {
            table.add_row([name, plain(&value)]);
        }
    }
    text(&table.trim_fmt())
}

/// A JSON value without the punctuation that only machines need.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Prints a text and ends its line.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        // A reader that went away (`| head`) has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Says something that is no result.
pub(crate) fn say(words: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{words}");
}

/// Says why the command failed.
pub(crate) fn error(failure: &Failure) {
    say(&format!("{ERROR}error:{ERROR:#} {failure}"));
}
