//! The program: AIP with its own SQLite file, a make-believe network around it, and a demo app.
//! Works offline, ends with Ctrl-C, and leaves nothing behind.

mod server;

use std::io::Write as _;
use std::net::SocketAddr;

use aip_sandbox::demo::DemoClient;
use aip_sandbox::{RunOptions, Running, run_stand_ins};
use anyhow::Context as _;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::server::{DEMO_CLIENT, Server};

/// AIP, a PDS, a PLC directory and a demo app on this machine, with the accounts alice.test and
/// bob.test.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Use the AIP at this base URL instead of running one
    #[arg(long, value_name = "URL", requires = "client_id")]
    aip: Option<String>,
    /// The demo app's client at that AIP: a public one, made with `aip clients create`
    #[arg(long, requires = "aip")]
    client_id: Option<String>,
    /// Where that AIP listens without TLS, if its base URL is https: the PDS and the demo app go
    /// there for it
    #[arg(long, value_name = "ADDRESS:PORT", requires = "aip")]
    aip_address: Option<SocketAddr>,
    /// The port of AIP
    #[arg(long, default_value_t = 8080)]
    aip_port: u16,
    /// The port of the PLC directory; 0 for a free one
    #[arg(long, default_value_t = 2582)]
    plc_port: u16,
    /// The port of the PDS; 0 for a free one
    #[arg(long, default_value_t = 2583)]
    pds_port: u16,
    /// The port of the demo app; 0 for a free one
    #[arg(long, default_value_t = 8090)]
    demo_port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    if let Some(aip) = &arguments.aip {
        let running = stand_ins(&arguments, aip, arguments.client_id.clone()).await?;
        announce(aip, &running)?;
        return wait().await;
    }
    let server = Server::bind(arguments.aip_port).await?;
    let aip = server.url();
    let running = stand_ins(&arguments, &aip, Some(DEMO_CLIENT.to_owned())).await?;
    let serving = server.start(&running).await?;
    announce(&aip, &running)?;
    wait().await?;
    serving.end().await;
    Ok(())
}

async fn stand_ins(
    arguments: &Arguments,
    aip: &str,
    client: Option<String>,
) -> anyhow::Result<Running> {
    run_stand_ins(RunOptions {
        aip: aip.to_owned(),
        aip_address: arguments.aip_address,
        client: client.map(|id| DemoClient { id, secret: None }),
        plc_port: arguments.plc_port,
        pds_port: arguments.pds_port,
        demo_port: arguments.demo_port,
    })
    .await
    .context("cannot start the stand-ins; choose other ports with --pds-port, --plc-port and --demo-port")
}

fn announce(aip: &str, running: &Running) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Open the demo app:  {}\n", running.demo_url())?;
    for person in [
        &running.sandbox.accounts.alice,
        &running.sandbox.accounts.bob,
    ] {
        writeln!(
            out,
            "sign in as          {}  password {}",
            person.handle, person.password
        )?;
    }
    writeln!(out, "\nAIP                 {aip}")?;
    writeln!(out, "PDS                 {}", running.sandbox.pds.origin())?;
    writeln!(out, "PLC directory       {}", running.sandbox.plc.origin())?;
    writeln!(out, "\nCtrl-C ends everything; nothing is kept.")?;
    Ok(out.flush()?)
}

async fn wait() -> anyhow::Result<()> {
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for Ctrl-C")
}
