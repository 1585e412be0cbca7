//! A PostgreSQL server for tests, started by the tests themselves: one cluster per test program,
//! one database per test, on a Unix socket in a directory of its own.
//!
//! Without PostgreSQL the tests fail: an engine that is not tested is not supported.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test that has no database must fail at once"
)]

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::OnceCell;

/// The running cluster. It ends when `_alive` is closed, with this program at the latest.
struct Cluster {
    directory: String,
    _alive: ChildStdin,
}

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Creates an empty database and returns its URL.
///
/// # Panics
///
/// If PostgreSQL cannot be started.
pub async fn create_database() -> String {
    let cluster = CLUSTER.get_or_init(Cluster::start).await;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    cluster.create(&name).await;
    format!("postgres://aip@localhost/{name}?host={}", cluster.directory)
}

impl Cluster {
    async fn start() -> Self {
        let script = include_str!("postgres.sh");
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`sh` runs");
        let alive = child.stdin.take().expect("standard input is piped");
        let output = child.stdout.take().expect("standard output is piped");
        let line = BufReader::new(output)
            .lines()
            .next_line()
            .await
            .expect("the script's output is text");
        match line.as_deref().and_then(|line| line.strip_prefix("ready ")) {
            Some(directory) => Self {
                directory: directory.to_owned(),
                _alive: alive,
            },
            None => panic!("PostgreSQL did not start; the reason is on standard error"),
        }
    }

    async fn create(&self, name: &str) {
        let created = Command::new("psql")
            .args([
                "--host",
                &self.directory,
                "--username",
                "aip",
                "--dbname",
                "postgres",
                "--no-psqlrc",
                "--quiet",
            ])
            .args(["--command", &format!("CREATE DATABASE {name}")])
            .status()
            .await;
        assert!(
            created.is_ok_and(|status| status.success()),
            "`psql` cannot create a database"
        );
    }
}
