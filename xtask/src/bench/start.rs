//! How fast `aip serve` is ready, with an empty folder and with its data there, and what it weighs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::report::Measurement;
use super::server::{self, Server};
use crate::{paths, stopwatch};

const ROUNDS: usize = 7;
/// Long enough for what a server does right after its start to be over.
const IDLE: Duration = Duration::from_secs(2);

pub(super) fn measure() -> Result<Vec<Measurement>> {
    let program = server::build()?;
    let base = Scratch::create()?;
    // The first process pays for reading the binary from disk: it warms up and is not counted.
    Server::start(&program, &base.folder("warm-up")?)?.stop()?;

    let (mut first, mut again, mut rss) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = base.folder(&format!("round-{round}"))?;
        first.push(start_and_stop(&program, &folder)?);
        again.push(start_and_stop(&program, &folder)?);
        let server = Server::start(&program, &folder)?;
        stopwatch::rest(IDLE);
        rss.push(server.rss_mb()?);
        server.stop()?;
    }
    Ok(vec![
        Measurement::of("start_to_ready_ms", "ms", again)?,
        Measurement::of("first_start_ms", "ms", first)?,
        Measurement::of("idle_rss_mb", "MiB", rss)?,
    ])
}

fn start_and_stop(program: &Path, folder: &Path) -> Result<f64> {
    let server = Server::start(program, folder)?;
    let milliseconds = server.ready_after.as_secs_f64() * 1000.0;
    server.stop()?;
    Ok(milliseconds)
}

/// A folder under the build folder (a disk, where `/tmp` may be memory), removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> Result<Self> {
        let path = paths::target().join(format!("bench-start-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
