//! A PostgreSQL server for one run, as Debian configures it: every commit reaches the disk.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::process::Process;

/// A running cluster. It ends when its standard input closes, with this program at the latest.
pub(crate) struct Postgres {
    /// The server and, as its children, all that work for it.
    pub(crate) process: Process,
    directory: String,
    _alive: ChildStdin,
    _script: Child,
}

impl Postgres {
    pub(crate) async fn start() -> Result<Self> {
        let script = include_str!("postgres.sh");
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let alive = child.stdin.take().context("standard input is piped")?;
        let output = child.stdout.take().context("standard output is piped")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let (process, directory) = line
            .as_deref()
            .and_then(|line| line.strip_prefix("ready "))
            .and_then(|line| line.split_once(' '))
            .context("PostgreSQL did not start; the reason is above")?;
        Ok(Self {
            process: Process::new(process.parse()?),
            directory: directory.to_owned(),
            _alive: alive,
            _script: child,
        })
    }

    /// The URL of its database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://aip@localhost/postgres?host={}", self.directory)
    }
}
