//! The chaos suite: builds the programs and runs replicas of AIP under faults, with the sandbox and
//! with the real PDS of the end-to-end stories.

use std::path::PathBuf;

use anyhow::Result;

use super::tally::Tally;
use super::{e2e, rust};
use crate::{paths, process};

#[derive(clap::Args)]
pub(super) struct Options {
    /// `chaos`: how long faults go on; about a minute unless told
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// `chaos`: repeats the run with this seed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// `chaos`: where to write the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> Result<Tally> {
    e2e::set_up()?;
    let programs = rust::programs()?;
    let mut chaos = process::command(programs.join("chaos"));
    chaos.arg("--program").arg(programs.join("aip"));
    chaos.arg("--scratch").arg(paths::target());
    chaos
        .arg("--lab")
        .arg(paths::root().join("tests/e2e/lab/main.mjs"))
        .arg("--newest-lab")
        .arg(paths::root().join("tests/e2e/lab/newest.mjs"))
        .arg("--newest-node")
        .arg(paths::root().join("tests/e2e/newest/node_modules/.bin/node"));
    if let Some(minutes) = options.minutes {
        chaos.arg("--seconds").arg((minutes * 60).to_string());
    }
    if let Some(seed) = options.seed {
        chaos.arg("--seed").arg(seed.to_string());
    }
    if let Some(json) = &options.json {
        chaos.arg("--json").arg(json);
    }
    rust::count(&mut chaos)
}
