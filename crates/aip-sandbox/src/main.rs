//! Starts the stand-ins and the demo app, for development and for the tests of app developers.

use std::io::Write as _;

use aip_sandbox::demo::DemoClient;
use aip_sandbox::{RunOptions, run_stand_ins};
use anyhow::Context as _;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// A PDS, a PLC directory and a demo app on this machine, with the accounts alice.test and
/// bob.test.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The base URL of AIP, which the demo app signs people in with.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    aip: String,
    /// The demo app's client at AIP. Without it the app registers itself.
    #[arg(long)]
    client_id: Option<String>,
    /// The secret of that client. Without it the client is public.
    #[arg(
        long,
        env = "AIP_SANDBOX_CLIENT_SECRET",
        hide_env_values = true,
        requires = "client_id"
    )]
    client_secret: Option<String>,
    /// The port of the PLC directory; 0 for a free one.
    #[arg(long, default_value_t = 2582)]
    plc_port: u16,
    /// The port of the PDS; 0 for a free one.
    #[arg(long, default_value_t = 2583)]
    pds_port: u16,
    /// The port of the demo app; 0 for a free one.
    #[arg(long, default_value_t = 8090)]
    demo_port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let aip = arguments.aip.clone();
    let running = run_stand_ins(options(arguments))
        .await
        .context("cannot start the stand-ins")?;
    let accounts = &running.sandbox.accounts;
    let mut out = std::io::stdout().lock();
    writeln!(out, "demo app      {}", running.demo_url())?;
    writeln!(out, "PDS           {}", running.sandbox.pds.origin())?;
    writeln!(out, "PLC directory {}", running.sandbox.plc.origin())?;
    writeln!(out, "AIP           {aip}")?;
    for person in [&accounts.alice, &accounts.bob] {
        writeln!(
            out,
            "account       {} password {} {}",
            person.handle, person.password, person.did
        )?;
    }
    drop(out);
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for Ctrl-C")
}

fn options(arguments: Arguments) -> RunOptions {
    let secret = arguments.client_secret.map(Into::into);
    RunOptions {
        aip: arguments.aip,
        client: arguments.client_id.map(|id| DemoClient { id, secret }),
        plc_port: arguments.plc_port,
        pds_port: arguments.pds_port,
        demo_port: arguments.demo_port,
    }
}
