//! Replicas of AIP under faults: `cargo xtask test chaos` builds everything and runs this.
//!
//! Three replicas with PostgreSQL and Valkey behind a balancer serve apps that use their sessions
//! all the time, while processes are killed, connections broken and clocks moved. In the end every
//! session that is gone is counted, and has to be one that nobody could have saved. Every decision
//! follows from the seed.

mod apps;
mod balancer;
mod decisions;
mod fault;
mod ledger;
mod real;
mod replica;
mod report;
mod run;
mod site;
mod upstream;
mod valkey;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use futures_util::future::try_join_all;
use harness::scratch::Scratch;
use harness::{machine, process};

use crate::fault::Fault;
use crate::real::LabProgram;
use crate::report::{Report, say};
use crate::run::{Outcome, Plan};
use crate::upstream::Upstream;

#[derive(Parser)]
#[command(about = "Runs replicas of AIP under faults and counts the sessions that are lost")]
struct Arguments {
    /// The build of `aip`.
    #[arg(long)]
    program: PathBuf,
    /// A folder on a disk, for databases and logs.
    #[arg(long)]
    scratch: PathBuf,
    /// Where to write the figures.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The script that starts a real PDS.
    #[arg(long)]
    lab: Option<PathBuf>,
    /// The script that starts the newest PDS.
    #[arg(long)]
    newest_lab: Option<PathBuf>,
    /// The Node.js that runs it.
    #[arg(long, default_value = "node")]
    newest_node: PathBuf,
    /// Real PDSs end access tokens when they say they do, after two seconds, and so lose sessions:
    /// for comparison.
    #[arg(long)]
    enforced_tokens: bool,
    /// How long real PDSs take on top to read the row of an access token, in milliseconds.
    #[arg(long, default_value_t = 0)]
    row_read: u64,
    /// What every decision follows from; another one for every run unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// How long the stand-ins misbehave, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many sessions the stand-in of a PDS has.
    #[arg(long, default_value_t = 2000)]
    sessions: usize,
    /// What to run; everything at the same time.
    #[arg(long, value_enum, default_values_t = [Part::SelfTest, Part::Sandbox, Part::Real, Part::Newest])]
    part: Vec<Part>,
    /// Keep databases and logs.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// A PDS that forgets sessions must be noticed.
    SelfTest,
    /// Every fault, with the stand-in of a PDS.
    Sandbox,
    /// What can be done to a real PDS and everything around it.
    Real,
    /// The same with the newest PDS.
    Newest,
}

impl Part {
    fn plan(self, seed: u64, arguments: &Arguments) -> Plan {
        match self {
            Self::SelfTest => Plan {
                name: "self-test",
                seed,
                sessions: 20,
                faults: &[Fault::Amnesia],
                time: Duration::from_secs(1),
                rest: Duration::from_secs(2),
            },
            Self::Sandbox => Plan {
                name: "sandbox",
                seed,
                sessions: arguments.sessions,
                faults: Fault::SANDBOX,
                time: Duration::from_secs(arguments.seconds),
                rest: Duration::from_secs(30),
            },
            Self::Real | Self::Newest => Plan {
                name: "real PDS",
                seed,
                sessions: 50,
                faults: Fault::REAL,
                time: Duration::from_secs(arguments.seconds / 3),
                rest: Duration::from_secs(10),
            },
        }
    }

    async fn run(self, seed: u64, arguments: &Arguments) -> Result<Outcome> {
        let plan = self.plan(seed, arguments);
        let scratch = Scratch::create(&arguments.scratch, &format!("chaos-{}", self.name()))?;
        let upstream = match self {
            Self::SelfTest | Self::Sandbox => Upstream::sandbox().await?,
            Self::Real | Self::Newest => {
                let lab = self.lab(arguments)?;
                Upstream::real(&lab, &scratch.folder("lab")?).await?
            }
        };
        let outcome = plan.run(&arguments.program, &scratch, upstream).await;
        let failed = !outcome.as_ref().is_ok_and(|outcome| self.passes(outcome));
        if arguments.keep || failed {
            let folder = scratch.keep();
            say(&format!(
                "{}: databases and logs are in {}",
                self.name(),
                folder.display()
            ));
        }
        outcome
    }

    fn lab(self, arguments: &Arguments) -> Result<LabProgram> {
        let (node, script) = if matches!(self, Self::Newest) {
            (arguments.newest_node.clone(), &arguments.newest_lab)
        } else {
            (PathBuf::from("node"), &arguments.lab)
        };
        let script = script.clone();
        Ok(LabProgram {
            node,
            script: script
                .context("--lab and --newest-lab name the scripts that start real PDSs")?,
            lifetime_enforced: arguments.enforced_tokens,
            row_read: Duration::from_millis(arguments.row_read),
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::SelfTest => "self-test",
            Self::Sandbox => "sandbox",
            Self::Real => "real",
            Self::Newest => "newest",
        }
    }

    /// Whether the outcome is what it has to be: the self-test has to lose sessions.
    fn passes(self, outcome: &Outcome) -> bool {
        match self {
            Self::SelfTest => {
                let lost: usize = outcome.faults.iter().map(|row| row.sessions_lost).sum();
                lost > 0 && !outcome.holds()
            }
            Self::Sandbox | Self::Real | Self::Newest => outcome.holds(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// How many parts failed.
async fn run(arguments: &Arguments) -> Result<usize> {
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    // Most of the time a run waits for something, so they wait together.
    let runs = arguments.part.iter().map(|part| part.run(seed, arguments));
    let mut outcomes = Vec::new();
    let mut failed = Vec::new();
    for (part, outcome) in arguments.part.iter().zip(try_join_all(runs).await?) {
        report::print(&outcome);
        if part.passes(&outcome) {
            say(&format!("ok - {}", outcome.run));
        } else {
            say(&format!(
                "not ok - {}: repeat it with --seed {seed}",
                outcome.run
            ));
            failed.push(outcome.run.clone());
        }
        if !matches!(part, Part::SelfTest) {
            outcomes.push(outcome);
        }
    }
    if let Some(file) = &arguments.json {
        let report = Report {
            bench: "chaos",
            commit: process::commit().await?,
            machine: machine::describe()?,
            runs: &outcomes,
        };
        report.write(file)?;
    }
    let passed = arguments.part.len() - failed.len();
    say(&format!("{passed} passed, {} failed", failed.len()));
    Ok(failed.len())
}

/// Short enough to be typed.
fn fresh_seed() -> u64 {
    let mut bytes = [0; 3];
    aip_base::Rng::fill(&aip_base::SystemRng, &mut bytes);
    bytes
        .into_iter()
        .fold(0, |seed, byte| seed << 8 | u64::from(byte))
}
