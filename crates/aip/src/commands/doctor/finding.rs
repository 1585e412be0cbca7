//! What a check found.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::output::wrapped;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// It works, and something should be looked at.
    Warn,
    /// Something does not work.
    Fail,
    /// It was not looked at.
    Skipped,
}

/// What a check found.
pub(super) struct Finding {
    status: Status,
    found: String,
    advice: Option<String>,
}

/// A finding as it is printed.
#[derive(Serialize)]
pub(super) struct Line {
    check: &'static str,
    pub(super) status: Status,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(found: impl Into<String>) -> Self {
        Self::new(Status::Ok, found, None)
    }

    pub(super) fn warn(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Status::Warn, found, Some(advice.into()))
    }

    pub(super) fn fail(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Status::Fail, found, Some(advice.into()))
    }

    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self::new(Status::Skipped, why, None)
    }

    fn new(status: Status, found: impl Into<String>, advice: Option<String>) -> Self {
        Self {
            status,
            found: found.into(),
            advice,
        }
    }

    pub(super) fn line(self, check: &'static str) -> Line {
        Line {
            check,
            status: self.status,
            found: self.found,
            advice: self.advice,
        }
    }
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Skipped => "skipped",
        }
    }
}

impl Status {
    fn style(self) -> Style {
        match self {
            Self::Ok => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default().bold(),
            Self::Fail => AnsiColor::Red.on_default().bold(),
            Self::Skipped => Style::new().dimmed(),
        }
    }
}

/// All lines for people: a block for each check, with what to change below what was found.
pub(super) fn report(lines: &[Line], width: Option<usize>) -> String {
    const STATUS: usize = 8;
    let names = lines.iter().map(|line| line.check.len()).max();
    let names = names.unwrap_or_default() + 2;
    let blocks = lines.iter().map(|line| {
        let (style, status) = (line.status.style(), line.status.as_str());
        let indent = STATUS + names;
        let found = wrapped(&line.found, width, indent);
        let mut block = format!(
            "{style}{status:<STATUS$}{style:#}{:<names$}{found}",
            line.check
        );
        if let Some(advice) = &line.advice {
            let advice = wrapped(advice, width, STATUS + 2);
            // Writing to a text does not fail.
            let _ = write!(block, "\n{:STATUS$}→ {advice}", "");
        }
        block
    });
    blocks.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_change_stands_below_what_was_found() {
        let lines = [
            Finding::ok("all well").line("database"),
            Finding::warn(
                "the key is open to others on this machine",
                "chmod 600 keys.json",
            )
            .line("modes"),
        ];
        let plain = anstream::adapter::strip_str(&report(&lines, Some(50))).to_string();
        assert_eq!(
            plain,
            "ok      database  all well\n\
             warn    modes     the key is open to others on\n                  this machine\n        \
             → chmod 600 keys.json"
        );
        let coloured = report(&lines, None);
        assert!(
            coloured.contains("\u{1b}[33m") || coloured.contains("\u{1b}[1m"),
            "{coloured:?}"
        );
    }
}
