//! A PostgreSQL server for one run, as Debian configures it: every commit reaches the disk.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::process::{self, Process};

/// A running cluster. It ends when its standard input closes, with this program at the latest.
pub struct Postgres {
    /// The server and, as its children, all that work for it.
    pub process: Process,
    directory: String,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _script: Child,
}

impl Postgres {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        let script = include_str!("postgres.sh");
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = child.stdin.take().context("standard input is piped")?;
        let output = child.stdout.take().context("standard output is piped")?;
        let mut answers = BufReader::new(output).lines();
        let (process, directory) = ready(&mut answers).await?;
        Ok(Self {
            process,
            directory,
            commands,
            answers,
            _script: child,
        })
    }

    /// Restarts it without a shutdown, as after a power cut: every connection breaks, and what was
    /// committed comes back from the log.
    pub async fn crash(&mut self) -> Result<()> {
        self.commands.write_all(b"restart immediate\n").await?;
        (self.process, _) = ready(&mut self.answers).await?;
        Ok(())
    }

    /// Runs statements; the single value of the last one, if it has any.
    pub async fn run(&self, sql: &str) -> Result<String> {
        let mut command = Command::new("psql");
        command.args(["--host", &self.directory, "--username", "aip"]);
        command.args(["--dbname", "postgres", "--no-psqlrc", "--quiet"]);
        command.args(["--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]);
        command.args(["--command", sql]);
        Ok(process::output(&mut command).await?.trim().to_owned())
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://aip@localhost/postgres?host={}", self.directory)
    }
}

async fn ready(answers: &mut Lines<BufReader<ChildStdout>>) -> Result<(Process, String)> {
    let line = answers.next_line().await?;
    let (process, directory) = line
        .as_deref()
        .and_then(|line| line.strip_prefix("ready "))
        .and_then(|line| line.split_once(' '))
        .context("PostgreSQL did not start; the reason is above")?;
    Ok((Process::new(process.parse()?), directory.to_owned()))
}
