//! The program: AIP with its own SQLite file, a make-believe network around it, and a demo app.
//! Works offline, ends with Ctrl-C, and leaves nothing behind.

mod arguments;
mod server;

use std::io::Write as _;

use aip_sandbox::demo::DemoClient;
use aip_sandbox::{Person, RunOptions, Running, StartError, run_stand_ins};
use anyhow::Context as _;
use clap::Parser as _;
use secrecy::ExposeSecret as _;
use tracing_subscriber::EnvFilter;

use crate::arguments::Arguments;
use crate::server::{App, DEMO_CLIENT, NewApp, Server};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // Not to a file, and not where `NO_COLOR` is set.
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
    if let Some(aip) = &arguments.aip {
        let running = stand_ins(&arguments, aip, arguments.client_id.clone()).await?;
        let people = open_accounts(&arguments, &running)?;
        announce(aip, &running, &people, None)?;
        return wait().await;
    }
    let server = Server::bind(arguments.aip_port).await?;
    let aip = server.url();
    let running = stand_ins(&arguments, &aip, Some(DEMO_CLIENT.to_owned())).await?;
    let people = open_accounts(&arguments, &running)?;
    let app = (!arguments.redirect_uri.is_empty()).then(|| NewApp {
        redirect_uris: arguments.redirect_uri.clone(),
        scope: arguments.scope.clone(),
        public: arguments.public,
    });
    let serving = server.start(&running, app).await?;
    announce(&aip, &running, &people, serving.app.as_ref())?;
    wait().await?;
    serving.end().await;
    Ok(())
}

async fn stand_ins(
    arguments: &Arguments,
    aip: &str,
    client: Option<String>,
) -> anyhow::Result<Running> {
    let started = run_stand_ins(RunOptions {
        aip: aip.to_owned(),
        aip_address: arguments.aip_address,
        client: client.map(|id| DemoClient { id, secret: None }),
        plc_port: arguments.plc_port,
        pds_port: arguments.pds_port,
        demo_port: arguments.demo_port,
    });
    started.await.map_err(|error| {
        let option = match &error {
            StartError::Listen { name, .. } => match *name {
                "the demo app" => "--demo-port",
                "the PDS" => "--pds-port",
                _ => "--plc-port",
            },
            _ => return error.into(),
        };
        anyhow::Error::from(error).context(format!("choose another port with {option}"))
    })
}

/// The accounts that every sandbox has, and those of the command line.
fn open_accounts(arguments: &Arguments, running: &Running) -> anyhow::Result<Vec<Person>> {
    let sandbox = &running.sandbox;
    let mut people = vec![sandbox.accounts.alice.clone(), sandbox.accounts.bob.clone()];
    for (handles, confirmed) in [
        (&arguments.account, true),
        (&arguments.unconfirmed_account, false),
    ] {
        for handle in handles {
            let name = handle.as_str().split('.').next().unwrap_or_default();
            let person = sandbox.pds.add_account(handle, &format!("{name}-pass"))?;
            sandbox.pds.set_email_confirmed(&person.did, confirmed);
            people.push(person);
        }
    }
    Ok(people)
}

fn announce(
    aip: &str,
    running: &Running,
    people: &[Person],
    app: Option<&App>,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if let Some(demo) = running.demo_url() {
        writeln!(out, "Open the demo app:  {demo}\n")?;
    }
    for person in people {
        writeln!(
            out,
            "sign in as          {}  password {}",
            person.handle, person.password
        )?;
    }
    writeln!(out, "\nAIP                 {aip}")?;
    writeln!(out, "PDS                 {}", running.sandbox.pds.origin())?;
    writeln!(out, "PLC directory       {}", running.sandbox.plc.origin())?;
    if let Some(app) = app {
        writeln!(out, "\nYour app:\nAIP_URL={aip}\nCLIENT_ID={}", app.id)?;
        if let Some(secret) = &app.secret {
            writeln!(out, "CLIENT_SECRET={}", secret.expose_secret())?;
        }
    }
    writeln!(out, "\nCtrl-C ends everything; nothing is kept.")?;
    Ok(out.flush()?)
}

async fn wait() -> anyhow::Result<()> {
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for Ctrl-C")
}
