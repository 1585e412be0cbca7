//! Servers that AIP is measured beside, in turns within one run, so that a figure says how near
//! it is to what this machine can do: `limit`, a bare hyper server with the one statement of
//! PostgreSQL that the request needs (`bin/limit.rs`) or one proof (`bin/bare_proxy.rs`), and Debian's
//! nginx.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use harness::connection::Connection;
use harness::postgres::Postgres;
use harness::process::{self, Process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

const START_DEADLINE: Duration = Duration::from_secs(10);

/// What the limit does in the database before each answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Statement {
    /// Reads a row.
    Read,
    /// Changes a row: one commit.
    Write,
}

/// A running server; ended on drop.
pub(crate) struct Peer {
    /// What its results are called.
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    child: Child,
}

impl Peer {
    /// Starts the limit, which answers with `body`.
    pub(crate) async fn limit(
        folder: &Path,
        body: &[u8],
        statement: Option<(Statement, &Postgres)>,
    ) -> Result<Self> {
        let file = folder.join("body");
        std::fs::write(&file, body)?;
        let mut command = own_program("limit", folder)?;
        command.arg("--body").arg(file);
        if let Some((statement, postgres)) = statement {
            let word = match statement {
                Statement::Read => "read",
                Statement::Write => "write",
            };
            command.args(["--statement", word, "--database", &postgres.url()]);
        }
        Self::start("limit", command).await
    }

    /// Starts a PDS that checks nothing (`bin/bare_pds.rs`).
    pub(crate) async fn pds(folder: &Path) -> Result<Self> {
        Self::start("direct", own_program("bare_pds", folder)?).await
    }

    /// Starts the limit of proxies, which sends requests on to `upstream` (`bin/bare_proxy.rs`).
    pub(crate) async fn proxy(folder: &Path, upstream: SocketAddr) -> Result<Self> {
        let mut command = own_program("bare_proxy", folder)?;
        command.args(["--upstream", &upstream.to_string()]);
        Self::start("limit", command).await
    }

    /// Starts a program that prints its address.
    async fn start(name: &'static str, mut command: Command) -> Result<Self> {
        let started = command.stdout(Stdio::piped()).spawn();
        let mut child = started.with_context(|| format!("cannot start `{name}`"))?;
        let output = child.stdout.take().context("standard output is piped")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let address =
            line.with_context(|| format!("`{name}` did not start; the reason is above"))?;
        Ok(Self {
            name,
            address: address.parse()?,
            process: process_of(&child)?,
            child,
        })
    }

    /// Starts nginx, which answers with `body` from a file and writes its access log.
    pub(crate) async fn nginx(folder: &Path, body: &[u8]) -> Result<Self> {
        std::fs::write(folder.join("answer.json"), body)?;
        Self::start_nginx(folder, "", "try_files /answer.json =500;").await
    }

    /// Starts nginx, which sends requests on to `upstream` over connections that it keeps, and writes
    /// its access log.
    pub(crate) async fn nginx_proxy(folder: &Path, upstream: SocketAddr) -> Result<Self> {
        let servers = format!(
            "upstream pds {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}"
        );
        let location = "proxy_pass http://pds; proxy_http_version 1.1; \
                        proxy_set_header Connection \"\";";
        Self::start_nginx(folder, &servers, location).await
    }

    /// Starts nginx, which knows these `servers` and does this with every request.
    async fn start_nginx(folder: &Path, servers: &str, location: &str) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let configuration = folder.join("nginx.conf");
        let text = nginx_configuration(folder, address, servers, location);
        std::fs::write(&configuration, text)?;
        let mut command: Command = process::bare(nginx()?, folder);
        command.arg("-c").arg(&configuration).arg("-p").arg(folder);
        command.arg("-e").arg(folder.join("error.log"));
        // Its workers would outlive a master that is killed: dropping it asks it to end.
        command.kill_on_drop(false);
        let child = command.spawn().context("cannot start nginx")?;
        let peer = Self {
            name: "nginx",
            address,
            process: process_of(&child)?,
            child,
        };
        let began = Instant::now();
        while Connection::open(address).await.is_err() {
            if began.elapsed() > START_DEADLINE {
                bail!("nginx does not listen after {START_DEADLINE:?}");
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(id) = self.child.id() {
            let mut kill = std::process::Command::new("kill");
            // One that has ended already needs no end.
            drop(kill.args(["-TERM", &id.to_string()]).status());
        }
    }
}

/// A program of this package.
fn own_program(name: &str, folder: &Path) -> Result<Command> {
    let program = std::env::current_exe()?.with_file_name(name);
    Ok(process::bare(program, folder))
}

fn process_of(child: &Child) -> Result<Process> {
    Ok(Process::new(child.id().context("it has ended already")?))
}

/// Debian keeps it where only root's `PATH` looks.
fn nginx() -> Result<PathBuf> {
    ["/usr/sbin/nginx", "/usr/bin/nginx"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
        .context("nginx is not installed: apt-get install nginx")
}

/// Of a master that root runs, the workers would be another user, who may not read the folder.
/// For anybody else nginx ignores the line.
fn nginx_configuration(
    folder: &Path,
    address: SocketAddr,
    servers: &str,
    location: &str,
) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
user root;
worker_processes auto;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    default_type application/json;
    sendfile on;
    open_file_cache max=16;
    keepalive_requests 1000000000;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    {servers}
    server {{
        listen {address};
        root {folder};
        location / {{ {location} }}
    }}
}}
"
    )
}
