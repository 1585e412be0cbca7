//! `aip man`: manual pages, as troff text.

use anyhow::anyhow;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command, as in `aip man config show`; the program itself if left out
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    for word in &args.command {
        let found = command.find_subcommand(word).cloned();
        command = found.ok_or_else(|| {
            Failure::Usage(anyhow!("there is no command `{}`", args.command.join(" ")))
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(output::text(&String::from_utf8(page)?)?)
}
