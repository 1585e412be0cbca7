//! What is printed: results on standard output, talk on standard error. All of it goes through
//! here.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use aip_base::{Clock as _, SystemClock, Timestamp, without_credentials};
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;

const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The narrowest column that texts are broken into.
const MIN_WRAP_COLUMNS: usize = 20;

/// How results are printed: for people as a table, or as a block for each where the terminal is too
/// narrow for it; as a table however narrow it is; for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // No doc comments here: help would show them with every command.
    Table,
    Wide,
    Json,
}

/// A result with columns. Its JSON has a member for each of them.
pub(crate) trait Row: Serialize {
    /// The heads of the columns.
    const COLUMNS: &'static [&'static str];
    /// What is said when there is no result.
    const NONE: &'static str;

    /// The cells, one for each column.
    fn cells(&self) -> Vec<String>;
}

impl Format {
    /// Prints any number of results: a line or a block each, or one JSON array.
    pub(crate) fn list<R: Row>(self, rows: &[R]) -> anyhow::Result<()> {
        match self {
            Self::Json => json(rows),
            _ if rows.is_empty() => {
                print_status(R::NONE);
                Ok(())
            }
            Self::Wide => text(&table(rows)),
            Self::Table => text(&table_or_blocks(rows, width())),
        }
    }

    /// Tells that something was done: people in words, programs in JSON.
    pub(crate) fn done(self, result: &impl Serialize, words: &str) -> anyhow::Result<()> {
        match self {
            Self::Json => json(result),
            Self::Table | Self::Wide => {
                print_status(words);
                Ok(())
            }
        }
    }
}

fn table<R: Row>(rows: &[R]) -> String {
    let heads = R::COLUMNS.iter().map(|head| head.to_uppercase());
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(heads);
    table.add_rows(rows.iter().map(Row::cells));
    table.trim_fmt()
}

/// A table if it fits, otherwise a block for each row.
fn table_or_blocks<R: Row>(rows: &[R], width: Option<usize>) -> String {
    let table = table(rows);
    let widest = table.lines().map(|line| line.chars().count()).max();
    match width {
        Some(width) if widest > Some(width) => {
            let blocks = rows.iter().map(|row| {
                let names = R::COLUMNS.iter().copied();
                block(names.zip(row.cells()), Some(width))
            });
            blocks.collect::<Vec<_>>().join("\n\n")
        }
        _ => table,
    }
}

/// The columns of the terminal that results are printed on; `None` when it is none.
pub(crate) fn width() -> Option<usize> {
    let out = std::io::stdout();
    let (width, _) = out
        .is_terminal()
        .then(|| terminal_size::terminal_size_of(out))??;
    Some(usize::from(width.0))
}

/// Names and values, one under the other.
fn block<'a>(
    members: impl Iterator<Item = (&'a str, String)> + Clone,
    width: Option<usize>,
) -> String {
    let names = members.clone().map(|(name, _)| name.chars().count()).max();
    let names = names.unwrap_or_default() + 2;
    let lines = members.map(|(name, value)| {
        let value = wrapped(&value, width, names);
        format!("{name:<names$}{value}").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `text` in lines of at most `width`, broken at blanks; all but the first begin with `indent`
/// blanks, and the first has room for them. A word that is longer stays whole, to be copied.
pub(crate) fn wrapped(text: &str, width: Option<usize>, indent: usize) -> String {
    let room = width.map_or(usize::MAX, |width| {
        width.saturating_sub(indent).max(MIN_WRAP_COLUMNS)
    });
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let words = paragraph.trim_start_matches(' ');
        let mut line = " ".repeat(paragraph.len() - words.len());
        for word in words.split(' ') {
            if !line.trim().is_empty() {
                if line.chars().count() + 1 + word.chars().count() > room {
                    lines.push(std::mem::take(&mut line));
                } else {
                    line.push(' ');
                }
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// Prints a value as JSON, for people to read as well.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    text(&serde_json::to_string_pretty(value)?)
}

/// Prints one result for people: a line for each member, in this order.
pub(crate) fn members(members: &[(&str, String)]) -> anyhow::Result<()> {
    text(&block(members.iter().cloned(), width()))
}

/// An instant as RFC 3339 has it, to the second.
pub(crate) fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_secs()).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

/// An instant as it stands in the name of a file, to the second.
pub(crate) fn instant_in_name(at: Timestamp) -> anyhow::Result<String> {
    let at = jiff::Timestamp::from_second(at.as_secs())?;
    Ok(at.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// A time for people: its largest unit and the next one.
pub(crate) fn human_duration(time: Duration) -> String {
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

/// Prints, as JSON or in lines of its members, what has a secret that is shown this once. Whoever went away has
/// not seen it: then this fails, and the caller sees to it that no secret is good that nobody knows.
pub(crate) fn print_secret<T: Serialize>(
    format: Format,
    value: &T,
    members: &[(&str, String)],
) -> anyhow::Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value)?,
        Format::Table | Format::Wide => block(members.iter().cloned(), width()),
    };
    Ok(write(&text)?)
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// Prints a text and ends its line.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    match write(text) {
        // A reader that went away (`| head`) has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Says something that is no result.
pub(crate) fn print_status(words: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{words}");
}

/// Says something in the place of the line before, on a terminal.
pub(crate) fn rewrite_status(words: &str) {
    /// Erases the line from the cursor on (ECMA-48 §8.3.41).
    const ERASE: &str = "\u{1b}[K";
    let mut out = anstream::stderr().lock();
    let _ = write!(out, "\r{words}{ERASE}").and_then(|()| out.flush());
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_a_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Says why the command failed.
pub(crate) fn error(failure: &Failure) {
    print_status(&format!("{ERROR}error:{ERROR:#} {failure}"));
}

/// Says what is wrong with the words of a command, or how it is used. Wrong words are quoted, and
/// may be a URL with a password.
pub(crate) fn usage(error: &clap::Error) {
    let words = error.render().ansi().to_string();
    if error.use_stderr() {
        print_status(without_credentials(&words).trim_end());
    } else {
        // That nobody reads it is no failure.
        let _ = text(words.trim_end());
    }
}

/// Says why the command failed as a line of the log for machines, when there is no log yet.
pub(crate) fn log_error(failure: &Failure) {
    let line = json!({
        "timestamp": instant(SystemClock.now()),
        "level": "ERROR",
        "message": failure.to_string(),
        "target": "aip",
    });
    print_status(&line.to_string());
}

/// Whether standard error takes colours: a terminal, unless `NO_COLOR` says otherwise.
pub(crate) fn colours_on_stderr() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Session {
        id: &'static str,
        error: &'static str,
    }

    impl Row for Session {
        const COLUMNS: &'static [&'static str] = &["session", "last error"];
        const NONE: &'static str = "There is no session.";

        fn cells(&self) -> Vec<String> {
            vec![self.id.to_owned(), self.error.to_owned()]
        }
    }

    const SESSIONS: [Session; 2] = [
        Session {
            id: "0192f3a4-7b1c-7def-8abc-0123456789ab",
            error: "the PDS did not answer in time, and is left alone for a while",
        },
        Session {
            id: "0192f3a4-7b1c-7def-8abc-0123456789ac",
            error: "-",
        },
    ];

    #[test]
    fn a_table_that_fits_is_one() {
        for width in [None, Some(200)] {
            let shown = table_or_blocks(&SESSIONS, width);
            assert_eq!(shown.lines().count(), 3, "{shown}");
            assert!(shown.trim_start().starts_with("SESSION"), "{shown}");
        }
    }

    #[test]
    fn a_table_that_is_too_wide_becomes_blocks_with_broken_lines() {
        assert_eq!(
            table_or_blocks(&SESSIONS, Some(50)),
            "session     0192f3a4-7b1c-7def-8abc-0123456789ab\n\
             last error  the PDS did not answer in time, and is\n            \
             left alone for a while\n\n\
             session     0192f3a4-7b1c-7def-8abc-0123456789ac\n\
             last error  -"
        );
        for width in [1, 20, 50, 80] {
            let shown = table_or_blocks(&SESSIONS, Some(width));
            let id = shown.lines().find(|line| line.contains(SESSIONS[1].id));
            assert!(id.is_some(), "an id stays whole to be copied: {shown}");
        }
    }

    #[test]
    fn lines_are_broken_at_blanks_and_kept_where_they_were() {
        assert_eq!(wrapped("one two\n  three", None, 4), "one two\n      three");
        let long = "eleven twelve thirteen fourteen";
        assert_eq!(
            wrapped(long, Some(24), 2),
            "eleven twelve thirteen\n  fourteen"
        );
    }

    #[test]
    fn a_time_is_printed_in_its_two_largest_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_725, "1 h 2 min"),
            (86_400 * 3 + 59, "3 d"),
            (86_400 * 3 + 7_200, "3 d 2 h"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), words);
        }
    }
}
