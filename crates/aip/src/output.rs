//! What is printed: results on standard output, talk on standard error. All of it goes through
//! here.

use std::io::Write as _;
use std::time::Duration;

use aip_base::Timestamp;
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
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// An instant as RFC 3339 has it, to the second.
pub(crate) fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_secs()).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

/// A time for people: its largest unit and the next one.
pub(crate) fn words_for(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = time.as_secs();
    let mut rest = seconds;
    let mut words = Vec::new();
    for (length, name) in UNITS
        .into_iter()
        .skip_while(|(length, _)| seconds < *length)
        .take(2)
    {
        if rest >= length {
            words.push(format!("{} {name}", rest / length));
            rest %= length;
        }
    }
    if words.is_empty() {
        return "0 s".to_owned();
    }
    words.join(" ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_725, "1 h 2 min"),
            (86_400 * 3 + 59, "3 d"),
            (86_400 * 3 + 7_200, "3 d 2 h"),
        ] {
            assert_eq!(words_for(Duration::from_secs(seconds)), words);
        }
    }
}
