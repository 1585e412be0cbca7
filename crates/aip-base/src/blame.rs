//! Whose fault an error is: the one question every error answers for logs, metrics and statuses.

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller sent something wrong: a 4xx, logged at `info`.
    Caller,
    /// A server that we talk to failed or lied: an error to the app, logged at `warn`.
    Upstream,
    /// Our own defect or a broken dependency of ours: a 5xx, logged at `error`, alerted on.
    Ours,
}

impl Blame {
    /// A label for logs and metrics: `caller`, `upstream` or `ours`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Upstream => "upstream",
            Self::Ours => "ours",
        }
    }
}
