//! `completions` and `man`, made from the table of commands, for packages; `version`.

use std::io;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::exit::Exit;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = examples![
    "completions bash > /etc/bash_completion.d/aip-deploy",
    "completions zsh > ~/.zfunc/_aip-deploy",
    "completions fish > ~/.config/fish/completions/aip-deploy.fish",
])]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print the manual page
#[derive(Debug, Args)]
#[command(after_help = examples!["man > aip-deploy.1", "man | man -l -"])]
pub(crate) struct ManArgs {}

/// Print the version
#[derive(Debug, Args)]
#[command(after_help = examples!["version"])]
pub(crate) struct VersionArgs {}

impl VersionArgs {
    pub(crate) fn run(self, ctx: &Context) -> Result<(), GenerateError> {
        let version = concat!("v", env!("CARGO_PKG_VERSION"));
        ctx.screen.line(version);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot generate the output: {0}")]
pub(crate) struct GenerateError(#[from] io::Error);

impl GenerateError {
    pub(crate) fn exit(&self) -> Exit {
        Exit::Failed
    }
}

impl CompletionsArgs {
    pub(crate) fn run(self, ctx: &Context) -> Result<(), GenerateError> {
        let mut command = Cli::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        ctx.screen.line(String::from_utf8_lossy(&script).trim_end());
        Ok(())
    }
}

impl ManArgs {
    pub(crate) fn run(self, ctx: &Context) -> Result<(), GenerateError> {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        ctx.screen.line(String::from_utf8_lossy(&page).trim_end());
        Ok(())
    }
}
