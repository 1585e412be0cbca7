//! Nothing outlives the test program, however it ends.
//!
//! A small shell process holds the other end of a pipe. When the pipe closes, because the cluster
//! was dropped, the test program ended without dropping it (a `static`), or it was killed, the
//! shell kills every process group that is still on the list and removes the working folder.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const SCRIPT: &str = r#"
cat >/dev/null
for group in "$1"/groups/*; do kill -s KILL -- "-${group##*/}"; done
rm -rf "$1"
"#;

/// A working folder that is removed at the end, with the processes that were started for it.
#[derive(Clone)]
pub(crate) struct Reaper(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    alive: Option<ChildStdin>,
    shell: Child,
}

/// A process group that ends when this is dropped.
pub(crate) struct Group {
    leader: Pid,
    mark: PathBuf,
}

impl Reaper {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir()
            .expect("a working folder can be made")
            .keep();
        fs::create_dir(folder.join("groups")).expect("the working folder is writable");
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "reaper"])
            .arg(&folder)
            .stdin(Stdio::piped())
            // Groups that have ended meanwhile are no news.
            .stderr(Stdio::null())
            // Ctrl-C in a terminal must not end the one that cleans up after it.
            .process_group(0)
            .spawn()
            .expect("`sh` runs");
        Self(Arc::new(Inner {
            folder,
            alive: shell.stdin.take(),
            shell,
        }))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Puts a process that leads a group of its own on the list.
    pub(crate) fn watch(&self, leader: u32) -> Group {
        let leader = i32::try_from(leader).ok().and_then(Pid::from_raw);
        let leader = leader.expect("the kernel gives positive process ids");
        let mark = self.0.folder.join(format!("groups/{leader}"));
        fs::write(&mark, "").expect("the working folder is writable");
        Group { leader, mark }
    }
}

impl Group {
    /// Signals the first process only, as a container runtime does.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        let _ended = kill_process(self.leader, signal);
    }

    /// Signals every process of the group. One that has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ended = kill_process_group(self.leader, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _gone = fs::remove_file(&self.mark);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _status = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .unwrap()
    }

    #[test]
    fn what_a_killed_test_program_leaves_behind_is_ended_and_removed() {
        let reaper = Reaper::start();
        let folder = reaper.folder().to_owned();
        let mut children = [sleeper(), sleeper()];
        for child in &children {
            // A program that is killed drops nothing.
            std::mem::forget(reaper.watch(child.id()));
        }
        drop(reaper);
        for child in &mut children {
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }
        assert!(!folder.exists());
    }

    #[test]
    fn a_group_that_was_dropped_has_ended_and_is_off_the_list() {
        let reaper = Reaper::start();
        let mut child = sleeper();
        drop(reaper.watch(child.id()));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let mut listed = fs::read_dir(reaper.folder().join("groups")).unwrap();
        assert!(listed.next().is_none());
    }
}
