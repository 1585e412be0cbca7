//! The commands. A new one is a file here and a variant of [`Command`].

mod completions;
mod config;
mod man;

use clap::Subcommand;

use crate::cli::Global;
use crate::failure::Failure;

/// Every command there is.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows and checks the configuration
    Config(config::Args),
    /// Prints a script that completes commands in a shell
    Completions(completions::Args),
    /// Prints a manual page
    Man(man::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Config(args) => config::run(&args, global),
            Self::Completions(args) => completions::run(&args),
            Self::Man(args) => man::run(&args),
        }
    }
}
