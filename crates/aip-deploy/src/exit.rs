//! How a command ends: the numbers of Pulumi, with those it reserves in use.

/// The exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// It failed, or somebody said no.
    Failed = 1,
    /// The command line or a file is wrong. Nothing was done.
    Usage = 2,
    /// Not logged in, or refused.
    Authentication = 3,
    /// The rollout failed.
    Rollout = 4,
    /// No stack, or none of that name.
    Stack = 6,
    /// There are changes although none were expected.
    Changes = 7,
    /// Interrupted.
    Cancelled = 8,
    /// It took too long.
    TimedOut = 9,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
