//! The command line, from its words to an exit code: 0 done, 1 failed, 2 asked for wrongly,
//! 130 and 143 ended at once by a second SIGINT or SIGTERM.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};

use crate::commands::Command;
use crate::environment::Assignment;
use crate::failure::Failure;
use crate::output::{self, Format};

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "aip",
    version = aip_version::version(),
    about = "Identity provider of the AT Protocol: sign people in with their own PDS"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The heading of what every command takes, so that help shows it behind a command's own options.
const GLOBAL: &str = "Global options";

/// What every command takes.
#[derive(Args)]
pub(crate) struct Global {
    /// The configuration file; `aip.toml` in the current folder, if there is one, unless set here
    /// or by `AIP_CONFIG`
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A setting, as in `--set server.listen=127.0.0.1:8080`; wins over environment and file
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "SECTION.NAME=VALUE")]
    pub(crate) set: Vec<Assignment>,
    /// How results are printed; `wide` is a table however narrow the terminal is
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
}

/// Runs the program with these words, the first of which is its own name.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            output::usage(&error);
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match cli.command.run(&cli.global) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ Failure::Logged(_)) => failure.exit_code(),
        Err(failure) => {
            output::error(&failure);
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
