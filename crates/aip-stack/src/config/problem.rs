//! What is wrong with a configuration: everything at once, each with its place and its remedy.

use std::fmt;
use std::path::PathBuf;

use super::fix::Fix;

/// A problem of the configuration, printed as `file:line: path: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the stack file.
    pub file: PathBuf,
    /// The line, where there is one.
    pub line: Option<usize>,
    /// The value, `aip_config.replicas`, in the grammar of `--path`.
    pub path: String,
    /// What is wrong with it. It never holds a value that may be secret.
    pub message: String,
    /// The command that fixes it, where there is one.
    pub fix: Option<Fix>,
}

/// As much of a path as a message shows.
const MAX_PATH_CHARS: usize = 200;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        for c in self.path.chars().take(MAX_PATH_CHARS) {
            // A name comes from the file and may hold what a terminal would obey.
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        if self.path.chars().nth(MAX_PATH_CHARS).is_some() {
            f.write_str("…")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.fix {
            Some(fix) => write!(f, "\n    fix: {fix}"),
            None => Ok(()),
        }
    }
}

/// Every problem of the configuration, in file order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// The problems with fixes for the stack file that these flags select.
    #[must_use]
    pub fn scoped(mut self, flags: &[String]) -> Self {
        for problem in &mut self.0 {
            problem.fix = problem.fix.take().map(|fix| fix.scoped(flags));
        }
        self
    }

    /// The problems of a text that is no stack file of today: no command would fix it.
    #[must_use]
    pub fn without_fixes(mut self) -> Self {
        for problem in &mut self.0 {
            problem.fix = None;
        }
        self
    }
}
