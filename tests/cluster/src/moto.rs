//! moto (<https://docs.getmoto.org>), a stand-in for AWS that other projects test with too. It is
//! installed into the cache folder at the first run.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use http::Method;

use crate::daemon::Daemon;
use crate::poll::eventually;
use crate::reaper::Reaper;
use crate::{http_client, ports};

const VERSION: &str = "5.2.5";
/// Another process may take a port between our look and the server's start.
const MAX_START_ATTEMPTS: usize = 3;

/// A server with nothing in it. It believes every signature, and ends when dropped.
pub struct Moto {
    address: SocketAddr,
    _server: Daemon,
    _reaper: Reaper,
}

impl Moto {
    /// A server of one's own.
    ///
    /// # Panics
    ///
    /// If it does not start; the reason is in the message.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with variables in its environment, such as `MOTO_ACM_VALIDATION_WAIT`.
    ///
    /// # Panics
    ///
    /// If it does not start; the reason is in the message.
    pub async fn start_with(variables: &[(&str, &str)]) -> Self {
        let programs = tokio::task::spawn_blocking(installed)
            .await
            .expect("the installation does not panic");
        for _ in 1..MAX_START_ATTEMPTS {
            if let Ok(server) = Self::try_start(&programs, variables).await {
                return server;
            }
        }
        Self::try_start(&programs, variables)
            .await
            .unwrap_or_else(|reason| panic!("{reason}"))
    }

    async fn try_start(programs: &Path, variables: &[(&str, &str)]) -> Result<Self, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let server = programs.join("moto_server").display().to_string();
        let port = address.port().to_string();
        let variables = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let arguments = [&server, "-H", "127.0.0.1", "-p", &port].map(str::to_owned);
        let arguments: Vec<String> = variables.chain(arguments).collect();
        let reaper = Reaper::start();
        let mut server = Daemon::start("env", Path::new("/usr/bin"), &arguments, &reaper);
        eventually("moto answers", async || {
            match (
                http_client::get(address, "/moto-api/").await,
                server.exit_message(),
            ) {
                (_, Some(exit_message)) => Ok(Err(exit_message)),
                (Ok(_), None) => Ok(Ok(())),
                (Err(error), None) => Err(error),
            }
        })
        .await?;
        Ok(Self {
            address,
            _server: server,
            _reaper: reaper,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its endpoint, for every service of AWS.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a bucket of S3.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub async fn create_bucket(&self, name: &str) {
        let path = format!("/{name}");
        let answer = http_client::ask(self.address, Method::PUT, &path, &[]).await;
        let made = answer
            .as_ref()
            .is_ok_and(|answer| answer.status().is_success());
        assert!(made, "no bucket: {answer:?}");
    }
}

/// The folder of the programs, which are installed once.
fn installed() -> PathBuf {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = named("AIP_CACHE_DIR")
        .or_else(|| Some(named("HOME")?.join(".cache/aip")))
        .expect("`HOME` is set");
    let folder = cache.join(format!("moto-{VERSION}"));
    let programs = folder.join("bin");
    fs::create_dir_all(&folder).expect("the cache folder is writable");
    let lock = fs::File::create(folder.join(".lock")).expect("the cache folder is writable");
    lock.lock().expect("a file can be locked");
    if !programs.join("moto_server").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let package = format!("moto[server,s3,kms]=={VERSION}");
        run(Command::new(programs.join("pip")).args(["install", "--quiet", &package]));
    }
    programs
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?}");
}
