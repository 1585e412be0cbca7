//! A long-running program: of the control plane, or what the programs in Pods need beside it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::reaper::{Group, Reaper};

/// It is killed when dropped: what it stored is thrown away anyway.
pub(crate) struct Daemon {
    name: &'static str,
    log: PathBuf,
    child: Child,
    group: Option<Group>,
}

impl Daemon {
    pub(crate) fn start(
        name: &'static str,
        programs: &std::path::Path,
        arguments: &[String],
        reaper: &Reaper,
    ) -> Self {
        let log = reaper.folder().join(format!("{name}.log"));
        let output = File::create(&log).expect("the working folder is writable");
        let errors = output.try_clone().expect("a file can be shared");
        let child = Command::new(programs.join(name))
            .args(arguments)
            .current_dir(reaper.folder())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let group = Some(reaper.watch(child.id()));
        Self {
            name,
            log,
            child,
            group,
        }
    }

    /// Signals the program itself, not what it has started.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = &self.group {
            group.signal_leader(signal);
        }
    }

    /// The end of what it wrote, if it has ended.
    pub(crate) fn exit_message(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(10)..];
        Some(format!(
            "{} ended ({status}):\n{}",
            self.name,
            last.join("\n")
        ))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.group.take();
        let _status = self.child.wait();
    }
}
