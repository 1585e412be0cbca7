//! `completions` and `man`, made from the table of commands, for packages; `version`.

use std::io;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::exit::Exit;

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print the manual page
#[derive(Debug, Args)]
pub struct ManArgs {}

/// Print the version
#[derive(Debug, Args)]
pub struct VersionArgs {}

impl VersionArgs {
    /// Prints the version as Pulumi prints its own.
    pub fn run(self, ctx: &Context) -> Result<(), GenerateError> {
        let version = concat!("v", env!("CARGO_PKG_VERSION"));
        ctx.screen.line(version);
        Ok(())
    }
}

/// Writing the script or page failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot generate the output: {0}")]
pub struct GenerateError(#[from] io::Error);

impl GenerateError {
    /// Exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        Exit::Failed
    }
}

impl CompletionsArgs {
    /// Prints the script.
    pub fn run(self, ctx: &Context) -> Result<(), GenerateError> {
        let mut command = Cli::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        ctx.screen.line(String::from_utf8_lossy(&script).trim_end());
        Ok(())
    }
}

impl ManArgs {
    /// Prints the page, in roff.
    pub fn run(self, ctx: &Context) -> Result<(), GenerateError> {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        ctx.screen.line(String::from_utf8_lossy(&page).trim_end());
        Ok(())
    }
}
