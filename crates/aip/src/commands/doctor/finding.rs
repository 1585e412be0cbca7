//! What a check found.

use serde::Serialize;

use crate::output::Row;

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

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["check", "", "found", "what to change"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.check.to_owned(),
            self.status.as_str().to_owned(),
            self.found.clone(),
            self.advice.clone().unwrap_or_default(),
        ]
    }
}
