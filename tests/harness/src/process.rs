//! Other programs, and what `/proc` says of them (proc(5)).

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::machine::{self, TICK};

/// A process, seen from outside.
#[derive(Debug, Clone, Copy)]
pub struct Process(u32);

/// What is read of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time of all its threads.
    own: Duration,
    /// The same of children that ended.
    ended_children: Duration,
}

/// Runs to the end and returns standard output.
pub async fn output(command: &mut Command) -> Result<String> {
    let shown = command.as_std().get_program().display().to_string();
    // Not `output()`, which would swallow what it says of a failure.
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.with_context(|| format!("cannot run {shown}"))?;
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("{shown} failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed no UTF-8"))
}

/// The commit that was measured; `+` marks changes on top of it.
pub async fn commit() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(env!("CARGO_MANIFEST_DIR"));
    git.args(["describe", "--always", "--dirty=+", "--exclude=*"]);
    Ok(output(&mut git).await?.trim().to_owned())
}

impl Process {
    /// The process with this id.
    pub fn new(id: u32) -> Self {
        Self(id)
    }

    /// This program.
    pub fn this() -> Self {
        Self(std::process::id())
    }

    /// Asks it to end.
    pub async fn terminate(self) -> Result<()> {
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &self.0.to_string()]);
        output(&mut kill).await.map(drop)
    }

    /// Time on a processor so far.
    pub fn cpu(self) -> Result<Duration> {
        Ok(self.stat()?.own)
    }

    /// Time on a processor so far, of it and its children.
    pub fn cpu_with_children(self) -> Result<Duration> {
        let own = self.stat()?;
        let mut sum = own.own + own.ended_children;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end between the listing and the look at it.
            if let Ok(stat) = Self(id).stat()
                && stat.parent == self.0
            {
                sum += stat.own;
            }
        }
        Ok(sum)
    }

    /// Resident memory in MiB.
    pub fn rss_mb(self) -> Result<f64> {
        self.memory("VmRSS")
    }

    /// The most resident memory since [`Process::forget_peak`], in MiB.
    pub fn peak_rss_mb(self) -> Result<f64> {
        self.memory("VmHWM")
    }

    /// Begins a new measurement of the peak.
    pub fn forget_peak(self) -> Result<()> {
        let file = format!("/proc/{}/clear_refs", self.0);
        std::fs::write(&file, "5").with_context(|| format!("cannot write {file}"))
    }

    fn memory(self, field: &str) -> Result<f64> {
        let file = format!("/proc/{}/status", self.0);
        let kib: u32 = machine::field(&file, field)?
            .trim_end_matches(" kB")
            .parse()?;
        Ok(f64::from(kib) / 1024.0)
    }

    fn stat(self) -> Result<Stat> {
        let file = format!("/proc/{}/stat", self.0);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        Stat::parse(&text).with_context(|| format!("{file} is not as expected"))
    }
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program stands in parentheses and may contain anything.
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let ticks =
            |at: usize| -> Option<Duration> { Some(TICK * fields.get(at)?.parse::<u32>().ok()?) };
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: ticks(11)? + ticks(12)?,
            ended_children: ticks(13)? + ticks(14)?,
        })
    }
}

/// A command that starts in `folder` with nothing of this shell's environment but the path:
/// whatever is configured there for AIP is not what is measured.
pub fn bare(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_may_look_like_fields() {
        let text = "7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 100 20 5 1 20 0 1 0 999 0 0";
        let expected = Stat {
            parent: 3,
            own: Duration::from_millis(1200),
            ended_children: Duration::from_millis(60),
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 3"), None);
    }

    #[test]
    fn a_process_has_memory_and_time() {
        let this = Process::this();
        assert!(this.rss_mb().unwrap() > 0.5);
        assert!(this.peak_rss_mb().unwrap() >= this.rss_mb().unwrap() - 1.0);
        // Read in this order: time goes on between the two.
        let own = this.cpu().unwrap();
        assert!(this.cpu_with_children().unwrap() >= own);
    }
}
