//! A PostgreSQL server for tests, started by the tests themselves: one cluster per test program,
//! one database per test, on a Unix socket in a directory of its own.
//!
//! Without PostgreSQL the tests fail: an engine that is not tested is not supported.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test that has no database must fail at once"
)]

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::OnceCell;

/// A server that listens on a Unix socket. It ends when `_alive` is closed, with this program at
/// the latest.
struct Server {
    directory: String,
    _alive: ChildStdin,
}

/// A cluster that accepts TLS on a port of 127.0.0.1. It ends when this is dropped.
pub struct TlsCluster {
    port: u16,
    _server: Server,
}

static CLUSTER: OnceCell<Server> = OnceCell::const_new();
static POOLER: OnceCell<Server> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Creates an empty database and returns its URL.
///
/// # Panics
///
/// If PostgreSQL cannot be started.
pub async fn create_database() -> String {
    let cluster = CLUSTER.get_or_init(Server::cluster).await;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    cluster.create(&name).await;
    format!("postgres://aip@localhost/{name}?host={}", cluster.directory)
}

/// The URL of a database that [`create_database`] returned, behind `PgBouncer` in transaction mode.
///
/// # Panics
///
/// If `PgBouncer` cannot be started.
pub async fn behind_pooler(database: &str) -> String {
    let (before, directory) = database.split_once("?host=").expect("a URL of ours");
    let script = include_str!("pgbouncer.sh");
    let start = || async { Server::start(script, &[directory]).await };
    let pooler = POOLER.get_or_init(start).await;
    format!("{before}?host={}&port=6432", pooler.directory)
}

impl TlsCluster {
    /// Starts one with the files `certificate.pem` and `key.pem` of a directory that everybody
    /// may read.
    ///
    /// # Panics
    ///
    /// If PostgreSQL cannot be started.
    pub async fn start(directory: &Path) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let directory = directory.to_str().expect("a path of ours");
        let arguments = [port.to_string(), directory.to_owned()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self {
            port,
            _server: Server::start(include_str!("postgres.sh"), &arguments).await,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Server {
    async fn cluster() -> Self {
        Self::start(include_str!("postgres.sh"), &[]).await
    }

    /// Runs a script, which is told its own text so that it can go on as another user.
    async fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", script])
            .args(arguments)
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
            None => panic!("the server did not start; the reason is on standard error"),
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
