//! What was tried, in words: for `aip resolve --explain` and the page that a failed sign-in shows.

use std::fmt;
use std::time::Duration;

use aip_base::{Clock, Timestamp};

/// The steps of one resolution, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// What was tried.
    pub steps: Vec<Step>,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What kind of question it was, such as `DNS TXT`.
    pub what: &'static str,
    /// The URL or name that was asked.
    pub subject: String,
    /// Whether it gave an answer that could be used.
    pub ok: bool,
    /// What came of it.
    pub outcome: String,
    /// How long it took.
    pub took: Duration,
}

/// A step that has begun.
pub(crate) struct RunningStep<'a> {
    clock: &'a dyn Clock,
    started_at: Timestamp,
    what: &'static str,
    subject: String,
}

impl Step {
    /// Begins a step.
    pub(crate) fn begin<'a>(
        clock: &'a dyn Clock,
        what: &'static str,
        subject: impl Into<String>,
    ) -> RunningStep<'a> {
        RunningStep {
            clock,
            started_at: clock.now(),
            what,
            subject: subject.into(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            subject,
            outcome,
            took,
            ..
        } = self;
        write!(f, "{what} {subject}: {outcome} ({} ms)", took.as_millis())
    }
}

impl RunningStep<'_> {
    /// Ends the step with a usable answer.
    pub(crate) fn found(self, outcome: impl Into<String>) -> Step {
        self.end(true, outcome.into())
    }

    /// Ends the step without a usable answer.
    pub(crate) fn failed(self, outcome: impl Into<String>) -> Step {
        self.end(false, outcome.into())
    }

    fn end(self, ok: bool, outcome: String) -> Step {
        let took = self.clock.now().since(self.started_at);
        Step {
            what: self.what,
            subject: self.subject,
            ok,
            outcome,
            took,
        }
    }
}
