//! What is wrong with a configuration: all of it, in one message.

use std::fmt;

use crate::{LogFormat, Source};

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// Every mistake that was found.
    pub problems: Vec<Problem>,
    /// The form of log lines, for who tells of it there; the default where it cannot be told.
    pub log_format: LogFormat,
}

/// One mistake, or something that deserves a look. No text of a secret setting and no password of a
/// URL is ever in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was made.
    pub source: Source,
    /// The setting, `section.name`, if it concerns one.
    pub setting: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.setting {
            Some(setting) => write!(f, "{setting} ({}): {}", self.source, self.message),
            None => write!(f, "{}: {}", self.source, self.message),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
