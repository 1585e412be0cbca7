//! A Valkey (or Redis) server that keeps nothing: killed, it comes back empty.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use harness::process;
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

const PROGRAM: &str = "redis-server";
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A running server; ended on drop.
pub(crate) struct Valkey {
    address: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl Valkey {
    pub(crate) async fn start(address: SocketAddr, folder: &Path) -> Result<Self> {
        let child = spawn(address, folder).await?;
        Ok(Self {
            address,
            folder: folder.to_owned(),
            child,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Kills it, leaves it away for `time`, and starts it empty.
    pub(crate) async fn wipe(&mut self, time: Duration) -> Result<()> {
        self.child.kill().await?;
        sleep(time).await;
        self.child = spawn(self.address, &self.folder).await?;
        Ok(())
    }
}

async fn spawn(address: SocketAddr, folder: &Path) -> Result<Child> {
    let port = address.port().to_string();
    let mut command = process::bare(PROGRAM, folder);
    command.args(["--bind", "127.0.0.1", "--port", &port]);
    command.args(["--save", "", "--appendonly", "no"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {PROGRAM}"))?;
    let deadline = Instant::now() + START_DEADLINE;
    while TcpStream::connect(address).await.is_err() {
        if Instant::now() > deadline {
            bail!("{PROGRAM} does not listen at {address}");
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(child)
}
