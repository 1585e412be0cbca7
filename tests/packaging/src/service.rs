//! Other programs in the background, ended with the test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::process::Child;
use tokio::time::{Instant, sleep};

/// How long a program may take to start. The machine is shared.
const START_DEADLINE: Duration = Duration::from_mins(1);

/// A program that listens.
pub struct Service {
    child: Child,
    log: std::path::PathBuf,
}

impl Service {
    /// Starts it; what it says goes to the file `log`, and `port` is the one it listens on.
    ///
    /// # Panics
    ///
    /// If it ends, or does not listen in time.
    pub async fn start(mut command: tokio::process::Command, log: &Path, port: u16) -> Self {
        let file = std::fs::File::create(log).expect("a log can be written");
        let copy = file.try_clone().expect("a log can be written twice");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .kill_on_drop(true)
            .spawn()
            .expect("the program can be started");
        let mut service = Self {
            child,
            log: log.to_owned(),
        };
        let deadline = Instant::now() + START_DEADLINE;
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            let ended = service.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "it ended: {}", service.log());
            assert!(
                Instant::now() < deadline,
                "it does not listen: {}",
                service.log()
            );
            sleep(Duration::from_millis(20)).await;
        }
        service
    }

    /// Everything that it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A port of loopback that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("it has an address").port()
}

/// Runs a command that must succeed; what it printed.
///
/// # Panics
///
/// If it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{errors}");
    said + &errors
}
