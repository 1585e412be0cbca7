//! Servers that AIP is measured beside, in turns within one run, so that a figure says how near
//! it is to what this machine can do: `limit`, a bare hyper server with the one statement of
//! PostgreSQL that the request needs (`bin/limit.rs`), and Debian's nginx.

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
        let program = std::env::current_exe()?.with_file_name("limit");
        let mut command = process::bare(program, folder);
        command.arg("--body").arg(file).stdout(Stdio::piped());
        if let Some((statement, postgres)) = statement {
            let word = match statement {
                Statement::Read => "read",
                Statement::Write => "write",
            };
            command.args(["--statement", word, "--database", &postgres.url()]);
        }
        let mut child = command.spawn().context("cannot start the limit")?;
        let output = child.stdout.take().context("standard output is piped")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let address = line.context("the limit did not start; the reason is above")?;
        Ok(Self {
            name: "limit",
            address: address.parse()?,
            process: process_of(&child)?,
            child,
        })
    }

    /// Starts nginx, which answers with `body` from a file and writes its access log.
    pub(crate) async fn nginx(folder: &Path, body: &[u8]) -> Result<Self> {
        std::fs::write(folder.join("answer.json"), body)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let configuration = folder.join("nginx.conf");
        std::fs::write(&configuration, nginx_configuration(folder, address))?;
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

fn nginx_configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
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
    server {{
        listen {address};
        root {folder};
        location / {{ try_files /answer.json =500; }}
    }}
}}
"
    )
}
