//! A command on a terminal, as its operator sees it and types to it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A command on a terminal.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    /// Starts a command that makes a terminal of its own, such as `script`.
    pub(crate) fn open(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let screen = child.stdout.take().unwrap();
        Self {
            child,
            keys,
            screen,
            seen: String::new(),
        }
    }

    /// Presses keys.
    pub(crate) async fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    /// Reads on until the words have come up since the last call.
    pub(crate) async fn shows(&mut self, words: &str) -> String {
        let reading = async {
            let mut bytes = [0; 4096];
            while !self.seen.contains(words) {
                let count = self.screen.read(&mut bytes).await.unwrap();
                assert!(
                    count > 0,
                    "the command ended before {words:?}:\n{}",
                    self.seen
                );
                self.seen
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        let in_time = tokio::time::timeout(Duration::from_mins(2), reading).await;
        assert!(in_time.is_ok(), "no {words:?} in\n{}", self.seen);
        std::mem::take(&mut self.seen)
    }

    /// Its exit code, and what has come up since the last look.
    pub(crate) async fn ends(mut self) -> (i32, String) {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).await.unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().await.unwrap().code().unwrap(), self.seen)
    }
}
