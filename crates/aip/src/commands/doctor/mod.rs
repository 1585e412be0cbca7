//! `aip doctor`: a list of checks, each with what was found and, where it is bad, what to change.
//! Nothing is changed by it, but for one row that is written and forgotten again.
//!
//! A check is a function in a file here and a line of [`CHECKS`]. They run side by side, each with
//! a time limit. No check prints a secret.

mod clocks;
mod database;
mod events;
mod finding;
mod guard;
mod installation;
mod keys;
mod network;
mod outside;
mod postgres;
mod reach;
mod v1;
mod valkey;

use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use aip_atproto::Handle;
use anyhow::anyhow;
use futures_util::future::join_all;

use self::finding::{Finding, Line, Status};
use self::installation::Installation;
use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Format};

/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The same as `--output json`
    #[arg(long)]
    json: bool,
    /// Leave out what goes over the network; the database is asked all the same
    #[arg(long)]
    offline: bool,
    /// The handle that is looked up over the network; that of an account with a session unless named
    #[arg(long, conflicts_with = "offline")]
    handle: Option<String>,
    /// How many servers run beside each other: what PostgreSQL has connections for is compared with it
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    servers: u32,
}

/// A check at work.
type Checking<'a> = Pin<Box<dyn Future<Output = Finding> + 'a>>;

struct Check {
    name: &'static str,
    /// Whether it goes to other servers.
    network: bool,
    run: for<'a> fn(&'a Installation) -> Checking<'a>,
}

const fn local(name: &'static str, run: for<'a> fn(&'a Installation) -> Checking<'a>) -> Check {
    Check {
        name,
        network: false,
        run,
    }
}

const fn network(name: &'static str, run: for<'a> fn(&'a Installation) -> Checking<'a>) -> Check {
    Check {
        name,
        network: true,
        run,
    }
}

/// Every check, in the order in which they are printed.
const CHECKS: &[Check] = &[
    local("configuration", |installation| {
        Box::pin(ready(installation::configuration(installation)))
    }),
    local("callers", |installation| {
        Box::pin(ready(installation::callers(installation)))
    }),
    local("database", |installation| {
        Box::pin(ready(database::reachable(installation)))
    }),
    local("schema", |installation| {
        Box::pin(ready(database::schema(installation)))
    }),
    local("database write", |installation| {
        Box::pin(database::write(installation))
    }),
    local("restored copy", |installation| {
        Box::pin(database::restored(installation))
    }),
    local("PostgreSQL", |installation| {
        Box::pin(postgres::server(installation))
    }),
    local("PostgreSQL replicas", |installation| {
        Box::pin(postgres::replicas(installation))
    }),
    local("database clock", |installation| {
        Box::pin(clocks::of_database(installation))
    }),
    local("Valkey", |installation| {
        Box::pin(valkey::answers(installation))
    }),
    local("signing keys", |installation| {
        Box::pin(ready(keys::signing(installation)))
    }),
    local("master keys", |installation| {
        Box::pin(keys::master(installation))
    }),
    local("pinned keys", |installation| {
        Box::pin(keys::pinned(installation))
    }),
    local("file modes", |installation| {
        Box::pin(ready(installation::modes(installation)))
    }),
    local("apps of AIP v1", |installation| {
        Box::pin(v1::client(installation))
    }),
    local("settings without effect", |installation| {
        Box::pin(ready(installation::ignored_settings(installation)))
    }),
    network("outbound guard", |installation| {
        Box::pin(guard::refuses(installation))
    }),
    network("DNS", |installation| Box::pin(network::dns(installation))),
    network("PLC directory", |installation| {
        Box::pin(network::plc(installation))
    }),
    network("handle in DNS", |installation| {
        Box::pin(network::handle_in_dns(installation))
    }),
    network("handle at its host", |installation| {
        Box::pin(network::handle_at_its_host(installation))
    }),
    network("account", |installation| {
        Box::pin(network::account(installation))
    }),
    network("PDS", |installation| Box::pin(network::pds(installation))),
    network("event stream", |installation| {
        Box::pin(events::stream(installation))
    }),
    network("clock", |installation| {
        Box::pin(clocks::of_network(installation))
    }),
    network("client document", |installation| {
        Box::pin(outside::document(installation))
    }),
    network("public keys", |installation| {
        Box::pin(outside::key_set(installation))
    }),
];

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = args.handle.as_deref().map(Handle::parse);
    let handle = handle.transpose().map_err(Failure::usage)?;
    let lines = runtime.block_on(examine(args, handle, global));
    let format = if args.json {
        Format::Json
    } else {
        global.output
    };
    match format {
        Format::Json => output::json(&lines)?,
        Format::Table => output::text(&finding::report(&lines, output::width()))?,
        Format::Wide => output::text(&finding::report(&lines, None))?,
    }
    let count = |status| lines.iter().filter(|line| line.status == status).count();
    let (bad, doubtful) = (count(Status::Fail), count(Status::Warn));
    if bad > 0 {
        return Err(anyhow!("{bad} check(s) failed, {doubtful} warning(s)").into());
    }
    output::print_status(&format!("All is well; {doubtful} warning(s)."));
    Ok(())
}

async fn examine(args: &Args, handle: Option<Handle>, global: &Global) -> Vec<Line> {
    let loaded = match load(global) {
        Ok(loaded) => loaded,
        Err(failure) => return without_configuration(&failure),
    };
    let installation = Installation::new(loaded, handle, args.servers).await;
    let checks = CHECKS.iter().map(async |check| {
        if check.network && args.offline {
            return Finding::skipped("--offline").line(check.name);
        }
        let found = tokio::time::timeout(CHECK_TIMEOUT, (check.run)(&installation)).await;
        let found = found.unwrap_or_else(|_| {
            Finding::fail(
                format!("nothing within {} s", CHECK_TIMEOUT.as_secs()),
                "find out what does not answer: the network, or the machine that it leads to",
            )
        });
        found.line(check.name)
    });
    let lines = join_all(checks).await;
    installation.close().await;
    lines
}

/// Without a configuration there is nothing to look at.
fn without_configuration(failure: &Failure) -> Vec<Line> {
    let configuration = Finding::fail(
        failure.to_string(),
        "correct each setting that is named; `aip config show` says where values come from",
    );
    let rest = CHECKS[1..]
        .iter()
        .map(|check| Finding::skipped("no configuration").line(check.name));
    std::iter::once(configuration.line(CHECKS[0].name))
        .chain(rest)
        .collect()
}
