//! One `aip serve` of several: killed, ended and started again on the same port and folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use harness::connection::{Connection, get};
use harness::process::{self, Process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Debian's `libfaketime`, in the variant for programs with threads.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";
const START_DEADLINE: Duration = Duration::from_mins(1);
/// What operators are promised.
const STOP_DEADLINE: Duration = Duration::from_mins(1);

/// A running replica; ended on drop.
pub(crate) struct Replica {
    internal: SocketAddr,
    number: usize,
    /// How often it was started.
    life: u32,
    program: PathBuf,
    folder: PathBuf,
    settings: Vec<(String, String)>,
    child: Child,
}

impl Replica {
    /// Starts it in a new folder and waits until it is ready.
    pub(crate) async fn start(
        number: usize,
        program: &Path,
        folder: PathBuf,
        address: SocketAddr,
        settings: &[(String, String)],
    ) -> Result<Self> {
        let internal = crate::site::free_address()?;
        let mut settings = settings.to_vec();
        settings.push(("AIP_LISTEN".to_owned(), address.to_string()));
        settings.push(("AIP_INTERNAL_LISTEN".to_owned(), internal.to_string()));
        std::fs::write(folder.join("clock"), "+0s")?;
        let child = spawn(program, &folder, &settings, &owner(number, 0))?;
        let mut replica = Self {
            internal,
            number,
            life: 0,
            program: program.to_owned(),
            folder,
            settings,
            child,
        };
        replica.become_ready().await?;
        Ok(replica)
    }

    /// The program with its folder and settings, for an administrator's commands.
    pub(crate) fn command(&self) -> Command {
        let mut command = process::bare(&self.program, &self.folder);
        command.envs(self.settings.iter().cloned());
        command
    }

    /// What it calls itself in leases; another name after every start.
    pub(crate) fn owner(&self) -> String {
        owner(self.number, self.life)
    }

    /// Ends it without a chance to do anything.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .context("a replica cannot be killed")
    }

    /// Ends it as an operator does: it must end well, and within a minute.
    pub(crate) async fn terminate(&mut self) -> Result<()> {
        let id = self.child.id().context("a replica ended by itself")?;
        Process::new(id).terminate().await?;
        let Ok(status) = timeout(STOP_DEADLINE, self.child.wait()).await else {
            bail!("a replica still runs {STOP_DEADLINE:?} after SIGTERM");
        };
        let status = status?;
        ensure!(status.success(), "a replica ended with {status} at SIGTERM");
        Ok(())
    }

    /// Starts it again after it ended.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.life += 1;
        self.child = spawn(&self.program, &self.folder, &self.settings, &self.owner())?;
        self.become_ready().await
    }

    /// Sets its clock `seconds` off.
    pub(crate) fn skew(&self, seconds: i32) -> Result<()> {
        // Replaced as a whole: it is read at any time.
        let new = self.folder.join("clock.new");
        std::fs::write(&new, format!("{seconds:+}s"))?;
        std::fs::rename(&new, self.folder.join("clock")).context("a clock cannot be set")
    }

    async fn become_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        let request = get(&self.internal.to_string(), "/internal/ready", "");
        loop {
            if let Ok(mut connection) = Connection::open(self.internal).await
                && let Ok(answer) = connection.exchange(&request).await
                && answer.status == 200
            {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.join("aip.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                bail!(
                    "a replica is not ready; its log, newest first:\n{}",
                    tail.join("\n")
                );
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn owner(number: usize, life: u32) -> String {
    format!("replica-{number}-{life}")
}

fn spawn(
    program: &Path,
    folder: &Path,
    settings: &[(String, String)],
    owner: &str,
) -> Result<Child> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("aip.log"))?;
    let mut command = process::bare(program, folder);
    command.args(["serve", "--migrate"]);
    command.envs(settings.iter().cloned());
    command.env("AIP_WORKER_ID", owner);
    // The clock that people see is read from a file; timers go on as they are.
    command.env("LD_PRELOAD", faketime()?);
    command.env("FAKETIME_TIMESTAMP_FILE", folder.join("clock"));
    command.env("FAKETIME_CACHE_DURATION", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.stdout(Stdio::null()).stderr(log);
    command
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// Debian has one folder of libraries per architecture.
fn faketime() -> Result<PathBuf> {
    let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let library = Path::new(&folder).join(FAKETIME);
    ensure!(library.exists(), "there is no {}", library.display());
    Ok(library)
}
