//! A PostgreSQL server for tests, started by the tests themselves: one cluster per test program,
//! one database per test, on a Unix socket in a directory of its own.
//!
//! Without PostgreSQL the tests fail: an engine that is not tested is not supported.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test that has no database must fail at once"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::OnceCell;

/// A server that listens on a Unix socket. It ends when `_alive` is closed, with this program at
/// the latest.
struct Server {
    directory: String,
    _alive: ChildStdin,
}

/// A cluster of its own, on a port of 127.0.0.1 too. It ends when this is dropped.
pub struct TcpCluster {
    port: u16,
    server: Server,
}

/// A cluster that accepts TLS, and nothing else, on a port of 127.0.0.1. Its certificate is for
/// `localhost`. It ends when this is dropped.
pub struct TlsCluster {
    port: u16,
    files: TempDir,
    _server: Server,
}

static CLUSTER: OnceCell<Server> = OnceCell::const_new();
static OTHER_CLUSTER: OnceCell<Server> = OnceCell::const_new();
static POOLER: OnceCell<Server> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Creates an empty database and returns its URL.
///
/// # Panics
///
/// If PostgreSQL cannot be started.
pub async fn create_database() -> String {
    create_at(&CLUSTER).await
}

/// The same at another server.
///
/// # Panics
///
/// If PostgreSQL cannot be started.
pub async fn create_database_elsewhere() -> String {
    create_at(&OTHER_CLUSTER).await
}

async fn create_at(cluster: &OnceCell<Server>) -> String {
    let cluster = cluster.get_or_init(Server::cluster).await;
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

impl TcpCluster {
    /// Starts one that has no TLS.
    ///
    /// # Panics
    ///
    /// If PostgreSQL cannot be started.
    pub async fn start() -> Self {
        let port = free_port();
        let script = include_str!("postgres.sh");
        Self {
            port,
            server: Server::start(script, &[&port.to_string()]).await,
        }
    }

    /// Starts a standby of this cluster, which receives by streaming replication what is written.
    ///
    /// # Panics
    ///
    /// If PostgreSQL cannot be started.
    pub async fn standby(&self) -> Self {
        let port = free_port();
        let script = include_str!("postgres_standby.sh");
        let of = [
            &*self.server.directory,
            &self.port.to_string(),
            &port.to_string(),
        ];
        Self {
            port,
            server: Server::start(script, &of).await,
        }
    }

    /// The URL of the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://aip@127.0.0.1:{}/postgres", self.port)
    }
}

impl TlsCluster {
    /// Starts one, with an authority of its own.
    ///
    /// # Panics
    ///
    /// If PostgreSQL cannot be started.
    pub async fn start() -> Self {
        let port = free_port();
        let files = certificates();
        let directory = files.path().to_str().expect("a path of ours");
        let script = include_str!("postgres.sh");
        Self {
            port,
            _server: Server::start(script, &[&port.to_string(), directory]).await,
            files,
        }
    }

    /// The URL of the database `postgres` with `sslmode=verify-full`, by this name of the host, and
    /// with this file of authorities: `trusted.pem`, or `other.pem`, which did not sign the
    /// certificate of the server.
    pub fn url(&self, host: &str, authorities: &str) -> String {
        format!(
            "postgresql://aip@{host}:{}/postgres?sslmode=verify-full&sslrootcert={}",
            self.port,
            self.files.path().join(authorities).display()
        )
    }
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("an address").port()
}

/// A certificate for `localhost` with its key, the authority that signed it, and another one.
fn certificates() -> TempDir {
    let authority = authority("the authority of the server");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .and_then(|params| params.signed_by(&key, &authority))
        .expect("a certificate");
    let directory = tempfile::tempdir().expect("a folder");
    // The server runs as another user when the tests run as root.
    readable(directory.path(), 0o755);
    for (name, text) in [
        ("certificate.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
        ("trusted.pem", authority.pem()),
        ("other.pem", self::authority("another authority").pem()),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("the folder takes files");
        readable(&path, 0o644);
    }
    directory
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

fn readable(path: &Path, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("it is ours");
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
