//! Why a command did not do what was asked, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

use aip_base::without_credentials;
use aip_config::{ConfigError, LogFormat};
use aip_listen::Signal;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked well, and failed.
    Failed(anyhow::Error),
    /// It was asked wrongly: words or settings.
    Usage(anyhow::Error),
    /// A signal ended it before it was done.
    Signalled(Signal),
    /// The log has told it already; the exit code is left to say.
    Logged(u8),
}

impl Failure {
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// What is wrong with the configuration, if that is it.
    pub(crate) fn configuration(&self) -> Option<&ConfigError> {
        match self {
            Self::Usage(error) => error.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the log that would tell it has the form for machines.
    pub(crate) fn is_for_json_log(&self) -> bool {
        let form = self.configuration().map(|error| error.log_format);
        form == Some(LogFormat::Json)
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            // As shells have it: 128 and the number of the signal.
            Self::Signalled(Signal::Interrupt) => 130,
            Self::Signalled(Signal::Terminate) => 143,
            Self::Logged(code) => *code,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The error and what caused it, in one line. A cause that an error has quoted is not repeated, and
/// the user information of a URL is hidden.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(error) | Self::Usage(error)) = self else {
            return f.write_str("second shutdown signal: exited immediately");
        };
        let mut said = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !said.contains(&cause) {
                said = format!("{said}: {cause}");
            }
        }
        f.write_str(&without_credentials(&said))
    }
}
