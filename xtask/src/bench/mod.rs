//! `cargo xtask bench NAME`: measures release builds on this machine and writes the figures down.
//!
//! Load and server share the machine, so ratios within one run count and absolute figures are
//! kept together with the machine they were measured on.

mod machine;
mod report;
mod server;
mod start;

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::{paths, process, say};
use report::{Measurement, Report};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_enum)]
    name: Bench,

    /// Where to write the figures; `bench/results/NAME.json` unless told.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// Time from start to ready with and without a data folder, and idle memory.
    Start,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
        }
    }

    fn measure(self) -> Result<Vec<Measurement>> {
        match self {
            Self::Start => start::measure(),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let name = args.name.name();
    let file = args
        .json
        .clone()
        .unwrap_or_else(|| paths::root().join(format!("bench/results/{name}.json")));
    let report = Report {
        bench: name,
        commit: commit()?,
        machine: machine::describe()?,
        results: args.name.measure()?,
    };
    for result in &report.results {
        say::line(&result.line());
    }
    report.write(&file)?;
    say::line(&format!("written to {}", file.display()));
    Ok(())
}

/// The commit that was measured; `+` marks changes on top of it.
fn commit() -> Result<String> {
    let describe = process::output(process::command("git").args([
        "describe",
        "--always",
        "--dirty=+",
        "--exclude=*",
    ]))?;
    Ok(describe.trim().to_owned())
}
