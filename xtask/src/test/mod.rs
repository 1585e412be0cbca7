//! `cargo xtask test [unit|stories|e2e|chaos|cluster|packaging|all]`: sets the machine up, runs the suites, counts.
//!
//! No suite passes by skipping: a suite that ran nothing, or ignored a test, has failed. The last
//! line is the total, `N passed, M failed`.

mod chaos;
pub(crate) mod cluster;
mod e2e;
mod needs;
mod packaging;
mod rust;
mod tally;

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use crate::say;
use crate::stopwatch::Stopwatch;
use tally::Tally;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which suites to run.
    #[arg(value_enum, default_value = "all")]
    suite: Choice,
    #[command(flatten)]
    chaos: chaos::Options,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    /// Every test of the crates but the stories.
    Unit,
    /// The whole application in process, against the sandbox.
    Stories,
    /// Real PDS, real browser, stock OAuth clients.
    E2e,
    /// Replicas under faults: every session that is lost is counted.
    Chaos,
    /// Deploying to a real Kubernetes control plane.
    Cluster,
    /// What operators are given: image, registry, packages, proxies.
    Packaging,
    /// All of them.
    All,
}

/// A group of tests with a count of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suite {
    Unit,
    Stories,
    E2e,
    Chaos,
    Cluster,
    Packaging,
}

impl Choice {
    fn suites(self) -> &'static [Suite] {
        match self {
            Self::Unit => &[Suite::Unit],
            Self::Stories => &[Suite::Stories],
            Self::E2e => &[Suite::E2e],
            Self::Chaos => &[Suite::Chaos],
            Self::Cluster => &[Suite::Cluster],
            Self::Packaging => &[Suite::Packaging],
            Self::All => &[
                Suite::Unit,
                Suite::Stories,
                Suite::E2e,
                Suite::Chaos,
                Suite::Cluster,
                Suite::Packaging,
            ],
        }
    }
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Stories => "stories",
            Self::E2e => "e2e",
            Self::Chaos => "chaos",
            Self::Cluster => "cluster",
            Self::Packaging => "packaging",
        }
    }

    fn run(self, args: &Args) -> Result<Tally> {
        match self {
            Self::Unit => rust::unit(),
            Self::Stories => rust::stories(),
            Self::E2e => e2e::run(),
            Self::Chaos => chaos::run(&args.chaos),
            Self::Cluster => cluster::run(),
            Self::Packaging => packaging::run(),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let suites = args.suite.suites();
    say::step("set up");
    needs::provide(suites)?;
    let others = suites.len() > 1;
    let _ahead = (others && suites.contains(&Suite::Cluster))
        .then(cluster::BackgroundBuild::start)
        .transpose()?;

    let mut results = Vec::new();
    for suite in suites {
        say::step(&format!("test {}", suite.name()));
        let watch = Stopwatch::start();
        let tally = suite.run(args).unwrap_or_else(|error| {
            say::error(&format!("{}: {error:#}", suite.name()));
            Tally::broken()
        });
        results.push((suite.name(), tally, watch.elapsed()));
    }

    say::step("result");
    let mut total = Tally::default();
    for (name, tally, took) in &results {
        say::line(&format!("{name} took {} s", took.as_secs()));
        say::line(&format!("{name}: {}", tally.line()));
        total.add(tally);
    }
    for name in &total.failures {
        say::line(&format!("failed: {name}"));
    }
    // Nothing is said after the total: whoever reads only the last line has read the verdict.
    say::line(&total.line());
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
