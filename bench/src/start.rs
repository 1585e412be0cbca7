//! How fast `aip serve` is ready, with an empty folder, with its data there and on a PostgreSQL
//! database that is up to date, and what it weighs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::report::Measurement;
use crate::server::Server;
use harness::postgres::Postgres;
use harness::scratch::Scratch;

const ROUNDS: usize = 7;
/// Long enough for what a server does right after its start to be over.
const IDLE: Duration = Duration::from_secs(2);

pub(crate) async fn measure(program: &Path, scratch: &Scratch) -> Result<Vec<Measurement>> {
    let postgres = Postgres::start().await?;
    let on_postgres = [("AIP_DATABASE_URL", postgres.url())];
    let migrated = scratch.folder("postgres")?;
    // The first process pays for reading the binary from disk: it warms up and is not counted.
    start_and_stop(program, &migrated, &on_postgres).await?;

    let (mut first, mut again, mut rss) = (Vec::new(), Vec::new(), Vec::new());
    let (mut postgres_again, mut postgres_rss) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = scratch.folder(&format!("round-{round}"))?;
        first.push(start_and_stop(program, &folder, &[]).await?);
        again.push(start_and_stop(program, &folder, &[]).await?);
        rss.push(idle_rss(program, &folder, &[]).await?);
        postgres_again.push(start_and_stop(program, &migrated, &on_postgres).await?);
        postgres_rss.push(idle_rss(program, &migrated, &on_postgres).await?);
    }
    Ok(vec![
        Measurement::of("start_to_ready_ms", "ms", again)?,
        Measurement::of("first_start_ms", "ms", first)?,
        Measurement::of("idle_rss_mb", "MiB", rss)?,
        Measurement::of("start_to_ready_postgres_ms", "ms", postgres_again)?,
        Measurement::of("idle_rss_postgres_mb", "MiB", postgres_rss)?,
    ])
}

async fn idle_rss(program: &Path, folder: &Path, settings: &[(&str, String)]) -> Result<f64> {
    let server = Server::start(program, folder, settings).await?;
    tokio::time::sleep(IDLE).await;
    let rss = server.process.rss_mb()?;
    server.stop().await?;
    Ok(rss)
}

async fn start_and_stop(program: &Path, folder: &Path, settings: &[(&str, String)]) -> Result<f64> {
    let server = Server::start(program, folder, settings).await?;
    let milliseconds = server.ready_after.as_secs_f64() * 1000.0;
    server.stop().await?;
    Ok(milliseconds)
}
