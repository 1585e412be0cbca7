//! A release build of `aip serve` in a folder of its own, for measuring.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::machine;
use crate::stopwatch::{Stopwatch, poll};
use crate::{paths, process};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_mins(1);

/// A running server; ended on drop.
pub(super) struct Server {
    process: Child,
    /// From the start of the process to its first answer of `200` on `/internal/ready`.
    pub(super) ready_after: Duration,
}

/// Builds the release binary and says where it is.
pub(super) fn build() -> Result<PathBuf> {
    process::run(process::cargo().args(["build", "--release", "--locked", "-p", "aip"]))?;
    Ok(paths::target().join("release/aip"))
}

impl Server {
    pub(super) fn start(program: &Path, folder: &Path) -> Result<Self> {
        let public = free_address()?;
        let internal = free_address()?;
        let log = folder.join("aip.log");
        let stderr = std::fs::File::create(&log)?;
        let watch = Stopwatch::start();
        let process = process::command(program)
            .arg("serve")
            .current_dir(folder)
            // Whatever this shell configures for AIP is not what is measured.
            .env_clear()
            .env("AIP_LISTEN", public.to_string())
            .env("AIP_INTERNAL_LISTEN", internal.to_string())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Self {
            process,
            ready_after: Duration::ZERO,
        };
        poll(
            "aip serve is ready",
            Duration::from_millis(1),
            START_DEADLINE,
            || match server.process.try_wait() {
                Ok(None) => is_ready(internal).then_some(Ok(())),
                Ok(Some(status)) => Some(Err(anyhow!("aip serve ended with {status}"))),
                Err(error) => Some(Err(error.into())),
            },
        )
        .flatten()
        .with_context(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("its log was:\n{said}")
        })?;
        server.ready_after = watch.elapsed();
        Ok(server)
    }

    /// Resident memory in MiB.
    pub(super) fn rss_mb(&self) -> Result<f64> {
        let status = format!("/proc/{}/status", self.process.id());
        let kib: u32 = machine::field(&status, "VmRSS")?
            .trim_end_matches(" kB")
            .parse()?;
        Ok(f64::from(kib) / 1024.0)
    }

    /// Ends the server as an operator would, so that the next start finds a clean folder.
    pub(super) fn stop(mut self) -> Result<()> {
        process::run(process::command("kill").args(["-TERM", &self.process.id().to_string()]))?;
        let process = &mut self.process;
        let status = poll(
            "aip serve stops",
            Duration::from_millis(10),
            STOP_DEADLINE,
            || process.try_wait().transpose(),
        )??;
        if !status.success() {
            bail!("aip serve ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `stop`; a benchmark that failed half-way must leave nothing behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A loopback address that nobody listens on.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(
            b"GET /internal/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
