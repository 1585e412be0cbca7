//! A release build of `aip serve` in a folder of its own, for measuring.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use harness::connection::{Connection, get};
use harness::process::{self, Process};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_mins(1);

/// A running server; ended on drop.
pub(crate) struct Server {
    /// Where apps and browsers reach it.
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    /// From the start of the process to its first answer of `200` on `/internal/ready`.
    pub(crate) ready_after: Duration,
    internal: SocketAddr,
    program: PathBuf,
    folder: PathBuf,
    settings: Vec<(String, String)>,
    child: Child,
}

impl Server {
    /// Starts it with `settings` beside those for its two listeners, and waits until it is ready.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        settings: &[(&str, String)],
    ) -> Result<Self> {
        let address = free_address()?;
        let internal = free_address()?;
        let mut settings: Vec<(String, String)> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        settings.push(("AIP_LISTEN".to_owned(), address.to_string()));
        settings.push(("AIP_INTERNAL_LISTEN".to_owned(), internal.to_string()));
        let log = folder.join("aip.log");
        let mut command = process::bare(program, folder);
        // A new PostgreSQL database has no tables yet.
        command.args(["serve", "--migrate"]);
        command.envs(settings.iter().cloned());
        command.stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log)?);
        let began = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let ready = timeout(START_DEADLINE, become_ready(&mut child, internal));
        ready
            .await
            .unwrap_or_else(|_| bail!("aip serve is not ready after {START_DEADLINE:?}"))
            .with_context(|| {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                format!("its log was:\n{said}")
            })?;
        Ok(Self {
            address,
            process: Process::new(child.id().context("aip serve ended")?),
            ready_after: began.elapsed(),
            internal,
            program: program.to_owned(),
            folder: folder.to_owned(),
            settings,
            child,
        })
    }

    /// The program with its folder and settings, for an administrator's commands.
    pub(crate) fn command(&self) -> Command {
        let mut command = process::bare(&self.program, &self.folder);
        command.envs(self.settings.iter().cloned());
        command
    }

    /// How many statements it has sent to its database.
    pub(crate) async fn sql_statements(&self) -> Result<u64> {
        self.counter("aip_sql_statements_total").await
    }

    /// A counter of its metrics: its name with its labels.
    pub(crate) async fn counter(&self, name: &str) -> Result<u64> {
        let mut connection = Connection::open(self.internal).await?;
        let request = get(&self.internal.to_string(), "/metrics", "");
        let answer = connection.exchange(&request).await?;
        counter(answer.expect(200)?.text()?, name)
    }

    /// Ends the server as an operator would, so that the next start finds a clean folder.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.terminate().await?;
        let Ok(status) = timeout(STOP_DEADLINE, self.child.wait()).await else {
            bail!("aip serve still runs after {STOP_DEADLINE:?}");
        };
        let status = status?;
        if !status.success() {
            bail!("aip serve ended with {status}");
        }
        Ok(())
    }
}

/// Asks every millisecond.
async fn become_ready(child: &mut Child, internal: SocketAddr) -> Result<()> {
    let request = get(&internal.to_string(), "/internal/ready", "");
    loop {
        if let Ok(mut connection) = Connection::open(internal).await
            && let Ok(answer) = connection.exchange(&request).await
            && answer.status == 200
        {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("aip serve ended with {status}");
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// A loopback address that nobody listens on.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A counter in the text format of Prometheus.
fn counter(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(it, _)| *it == name)
        .with_context(|| format!("/metrics has no {name}"))?
        .1
        .parse()
        .with_context(|| format!("{name} is no count"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_among_the_metrics() {
        let text = "# TYPE a_total counter\na_total_more 3\na_total 12\n\nb{x=\"y\"} 1.5\n";
        assert_eq!(counter(text, "a_total").unwrap(), 12);
        counter(text, "b").unwrap_err();
    }
}
