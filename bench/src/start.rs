//! How fast `aip serve` is ready, with an empty folder and with its data there, and what it weighs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::report::Measurement;
use crate::server::Server;
use harness::scratch::Scratch;

const ROUNDS: usize = 7;
/// Long enough for what a server does right after its start to be over.
const IDLE: Duration = Duration::from_secs(2);

pub(crate) async fn measure(program: &Path, scratch: &Scratch) -> Result<Vec<Measurement>> {
    // The first process pays for reading the binary from disk: it warms up and is not counted.
    start_and_stop(program, &scratch.folder("warm-up")?).await?;

    let (mut first, mut again, mut rss) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = scratch.folder(&format!("round-{round}"))?;
        first.push(start_and_stop(program, &folder).await?);
        again.push(start_and_stop(program, &folder).await?);
        let server = Server::start(program, &folder, &[]).await?;
        tokio::time::sleep(IDLE).await;
        rss.push(server.process.rss_mb()?);
        server.stop().await?;
    }
    Ok(vec![
        Measurement::of("start_to_ready_ms", "ms", again)?,
        Measurement::of("first_start_ms", "ms", first)?,
        Measurement::of("idle_rss_mb", "MiB", rss)?,
    ])
}

async fn start_and_stop(program: &Path, folder: &Path) -> Result<f64> {
    let server = Server::start(program, folder, &[]).await?;
    let milliseconds = server.ready_after.as_secs_f64() * 1000.0;
    server.stop().await?;
    Ok(milliseconds)
}
