//! Measures a release build of `aip` or `aip-deploy` and writes the figures down; `cargo xtask bench
//! NAME` builds everything and runs this.
//!
//! Load and server share the machine: ratios within one run count, and absolute figures are kept
//! together with the machine they were measured on.

mod apps;
mod fleet;
mod lab;
mod load;
mod peer;
mod people;
mod preview;
mod rekey;
mod report;
mod round;
mod server;
mod start;
mod xrpc;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use harness::{machine, process};

use crate::apps::Call;
use crate::report::{Measurement, Report};
use harness::scratch::Scratch;

#[derive(Parser)]
#[command(about = "Measures a release build of aip or aip-deploy")]
struct Arguments {
    /// What to measure.
    #[arg(value_enum)]
    name: Bench,
    /// The release build of `aip`, or of `aip-deploy` for `preview`.
    #[arg(long)]
    program: PathBuf,
    /// A folder on a disk, for databases and logs.
    #[arg(long)]
    scratch: PathBuf,
    /// Where to write the figures.
    #[arg(long)]
    json: PathBuf,
    /// How many sessions `rekey` seals again.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// Time from start to ready with and without a data folder, and idle memory.
    Start,
    /// Complete sign-ins through the pages, on SQLite.
    Signin,
    /// Refreshing tokens, on PostgreSQL.
    Refresh,
    /// Tokens of the app itself, on PostgreSQL.
    #[value(name = "client_credentials")]
    ClientCredentials,
    /// Access tokens of the app itself that are JWTs, on PostgreSQL.
    #[value(name = "token_jwt")]
    TokenJwt,
    /// Pushing authorization requests, on PostgreSQL.
    Par,
    /// Introspecting access tokens, on PostgreSQL.
    Introspect,
    /// Asking who signed in, on PostgreSQL.
    Userinfo,
    /// Asking how the session at the PDS is, on PostgreSQL.
    Session,
    /// Calls on the PDS, forwarded, on PostgreSQL.
    Xrpc,
    /// The metadata of AIP as an OpenID provider.
    Discovery,
    /// The keys of AIP.
    Jwks,
    /// The keeper: a fleet of stored sessions, of which some are due, on PostgreSQL.
    Keeper,
    /// Sealing the database again while apps call, on PostgreSQL.
    Rekey,
    /// `aip-deploy` against a local API server.
    Preview,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signin => "signin",
            Self::Refresh => "refresh",
            Self::ClientCredentials => "client_credentials",
            Self::TokenJwt => "token_jwt",
            Self::Par => "par",
            Self::Introspect => "introspect",
            Self::Userinfo => "userinfo",
            Self::Session => "session",
            Self::Xrpc => "xrpc",
            Self::Discovery => "discovery",
            Self::Jwks => "jwks",
            Self::Keeper => "keeper",
            Self::Rekey => "rekey",
            Self::Preview => "preview",
        }
    }

    async fn measure(self, arguments: &Arguments) -> Result<Vec<Measurement>> {
        let program = &arguments.program;
        let scratch = Scratch::create(&arguments.scratch, self.name())?;
        match self {
            Self::Start => start::measure(program, &scratch).await,
            Self::Signin => people::measure(program, &scratch).await,
            Self::Refresh => apps::measure(Call::Refresh, program, &scratch).await,
            Self::ClientCredentials => {
                apps::measure(Call::ClientCredentials, program, &scratch).await
            }
            Self::TokenJwt => apps::measure(Call::TokenJwt, program, &scratch).await,
            Self::Par => apps::measure(Call::Par, program, &scratch).await,
            Self::Introspect => apps::measure(Call::Introspect, program, &scratch).await,
            Self::Userinfo => apps::measure(Call::Userinfo, program, &scratch).await,
            Self::Session => apps::measure(Call::Session, program, &scratch).await,
            Self::Xrpc => xrpc::measure(program, &scratch).await,
            Self::Discovery => apps::measure(Call::Discovery, program, &scratch).await,
            Self::Jwks => apps::measure(Call::Jwks, program, &scratch).await,
            Self::Keeper => fleet::measure(program, &scratch).await,
            Self::Rekey => rekey::measure(program, &scratch, arguments.rows).await,
            Self::Preview => preview::measure(program, &scratch).await,
        }
    }
}

/// One thread: a load generator that hops between cores takes more from the server than it needs.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let report = Report {
        bench: arguments.name.name(),
        commit: process::commit().await?,
        machine: machine::describe()?,
        results: arguments.name.measure(arguments).await?,
    };
    report.write(&arguments.json)?;
    let mut out = std::io::stdout().lock();
    for result in &report.results {
        writeln!(out, "{}", result.line())?;
    }
    writeln!(out, "written to {}", arguments.json.display()).context("nobody reads the figures")
}
