//! Where the text of a setting stands.

use std::fmt;

/// Where the text of a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it has its default.
    Default,
    /// In a line of the configuration file.
    File {
        /// The file, as it was named.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// In a variable of the environment.
    Variable(String),
    /// In a file that a variable or a line of the configuration file names.
    FileNamedBy(Box<Source>),
    /// On the command line.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
            Self::FileNamedBy(source) => write!(f, "file named by {source}"),
        }
    }
}
