//! `cargo xtask`: the one door for chores. One file (or folder) per command.

mod bench;
mod check;
mod docs;
mod image;
mod paths;
mod process;
mod programs;
mod release;
mod say;
mod sbom;
mod stopwatch;
mod test;
mod tools;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that needs no running server: format, lints, dependencies, tidy, docs.
    Check,
    /// Sets the machine up, then runs the tests.
    Test(test::Args),
    /// Measures release builds on this machine.
    Bench(bench::Args),
    /// Writes the container image of `aip` as an OCI layout, and pushes it.
    Image(image::Args),
    /// Writes the folder that operators download.
    Release(release::Args),
    /// Writes the generated pages of `docs/` anew.
    Docs,
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let outcome = match Cli::parse().command {
        Command::Check => check::run().map(done),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args).map(done),
        Command::Image(args) => image::run(&args).map(done),
        Command::Release(args) => release::run(&args).map(done),
        Command::Docs => docs::write().map(done),
    };
    outcome.unwrap_or_else(|error| {
        say::error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
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
