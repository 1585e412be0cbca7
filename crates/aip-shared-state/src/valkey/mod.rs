//! Valkey (or Redis 6 and newer): one connection of the process, kept up by a task of its own.
//!
//! The connection is the circuit breaker, too. Whatever goes wrong with a command ends the
//! connection; without one every command is refused at once, and the task looks for a new one,
//! slower and slower, up to once a second. So an outage holds up the commands that are under way
//! when it begins, for [`COMMAND_TIMEOUT`] at most, and nobody after them.
//!
//! A new connection asks the Sentinels again, and so finds a new primary.

mod connect;
mod notices;
mod scripts;
mod server_facts;
mod url;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Backoff, Rng, supervise};
use aip_storage::StorageError;
use aip_storage::notices::LocalNotices;
use redis::{Cmd, Value};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

pub use self::connect::ConnectError;
use self::connect::Connection;
pub use self::server_facts::{Memory, ServerFacts};
pub use self::url::{HostPort, Login, Sentinels, Servers, ValkeyUrl, ValkeyUrlError};

/// How long a command may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);

/// How long it may take to connect, Sentinels and all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a connection is tried that nobody uses, so that a dead one is not found too late.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Between two attempts to connect.
const RETRY_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(1),
};

/// A connection that held this long ended by accident, and is tried anew at once.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Which servers, and whom to trust.
#[derive(Debug, Clone)]
pub struct ValkeyConfig {
    /// Which servers.
    pub url: ValkeyUrl,
    /// PEM certificates of the authorities to trust instead of the system's.
    pub authorities: Option<Vec<u8>>,
}

/// Valkey. Ends its task and its connection when dropped.
pub struct Valkey {
    inner: Arc<Inner>,
    upkeep: AbortHandle,
}

struct Inner {
    config: ValkeyConfig,
    live: watch::Sender<Option<CurrentConnection>>,
    local_notices: LocalNotices,
    rng: Arc<dyn Rng>,
}

/// The connection of the moment.
#[derive(Clone)]
struct CurrentConnection {
    /// How many there were before.
    number: u64,
    connection: Connection,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("Valkey is unreachable")]
    Disconnected,
    #[error("Valkey timed out")]
    TimedOut,
    #[error("Valkey: {0}")]
    Refused(#[from] redis::RedisError),
    #[error("unexpected response from Valkey")]
    Unexpected,
}

impl From<CommandError> for StorageError {
    fn from(error: CommandError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl ValkeyConfig {
    /// Reads the file of authorities, if one is given.
    pub fn new(url: ValkeyUrl, authorities: Option<&PathBuf>) -> Result<Self, ConnectError> {
        let Some(path) = authorities else {
            return Ok(Self {
                url,
                authorities: None,
            });
        };
        let refused = |reason: String| ConnectError::Authorities {
            path: path.clone(),
            reason,
        };
        let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| refused(error.to_string()))?;
            let added = roots.add(certificate);
            added.map_err(|error| refused(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(refused("it contains no PEM certificate".to_owned()));
        }
        Ok(Self {
            url,
            authorities: Some(pem),
        })
    }

    /// Connects once and asks whether anybody is there.
    pub async fn check(&self) -> Result<(), ConnectError> {
        let nobody: connect::PushHandler = Arc::new(drop);
        let attempt = Connection::connect(self, notices::CHANNEL, &nobody);
        timeout(CONNECT_TIMEOUT, attempt)
            .await
            .map_err(|_| ConnectError::TimedOut)??;
        Ok(())
    }
}

impl Valkey {
    /// Starts connecting. Returns at once: Valkey may be away now and come later.
    pub fn start(config: ValkeyConfig, rng: Arc<dyn Rng>) -> Self {
        metrics::gauge!("aip_valkey_up").set(0.0);
        let inner = Arc::new(Inner {
            config,
            live: watch::Sender::new(None),
            local_notices: LocalNotices::default(),
            rng,
        });
        let kept = Arc::clone(&inner);
        let upkeep = tokio::spawn(async move {
            supervise("Valkey connection", || kept.reconnect_loop()).await;
        });
        let upkeep = upkeep.abort_handle();
        Self { inner, upkeep }
    }

    /// Waits for a connection; `false` if there is none in time.
    pub async fn wait(&self, patience: Duration) -> bool {
        let mut live = self.inner.live.subscribe();
        let there = live.wait_for(Option::is_some);
        timeout(patience, there).await.is_ok_and(|it| it.is_ok())
    }

    async fn run(&self, command: Cmd) -> Result<Value, CommandError> {
        self.inner.run(command).await
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

impl Inner {
    async fn run(&self, command: Cmd) -> Result<Value, CommandError> {
        let live = self.live.borrow().clone();
        let mut live = live.ok_or(CommandError::Disconnected)?;
        let answer = match timeout(COMMAND_TIMEOUT, live.connection.query(command)).await {
            Ok(answer) => answer.map_err(CommandError::from),
            Err(_) => Err(CommandError::TimedOut),
        };
        if let Err(error) = &answer {
            self.end(live.number, &error.to_string());
        }
        answer
    }

    /// Ends connection `number`, if it is still the one in use.
    fn end(&self, number: u64, reason: &str) {
        let ended = self.live.send_if_modified(|live| {
            let current = live.as_ref().is_some_and(|live| live.number == number);
            if current {
                *live = None;
            }
            current
        });
        if ended {
            metrics::gauge!("aip_valkey_up").set(0.0);
            tracing::warn!(reason, "Valkey connection lost");
        }
    }

    /// Keeps a connection, for ever.
    async fn reconnect_loop(self: &Arc<Self>) {
        let mut failures = 0;
        // Begun anew after a panic, it does not use the number of the connection that may still be live.
        let first = self.live.borrow().as_ref().map_or(0, |it| it.number + 1);
        for number in first.. {
            match self.connect(number).await {
                Ok(connection) => {
                    let began = Instant::now();
                    self.begin(CurrentConnection { number, connection });
                    self.health_check(number).await;
                    failures = if began.elapsed() < STABLE_AFTER {
                        failures + 1
                    } else {
                        0
                    };
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "Valkey unreachable, retrying");
                    }
                    failures += 1;
                }
            }
            sleep(RETRY_BACKOFF.delay(failures, &*self.rng)).await;
        }
    }

    fn begin(&self, live: CurrentConnection) {
        self.live.send_replace(Some(live));
        metrics::gauge!("aip_valkey_up").set(1.0);
        tracing::info!(url = %self.config.url, "connected to Valkey");
    }

    async fn connect(self: &Arc<Self>, number: u64) -> Result<Connection, ConnectError> {
        let hear = notices::push_handler(self, number);
        let attempt = Connection::connect(&self.config, notices::CHANNEL, &hear);
        timeout(CONNECT_TIMEOUT, attempt)
            .await
            .map_err(|_| ConnectError::TimedOut)?
    }

    /// Returns when connection `number` has ended.
    async fn health_check(&self, number: u64) {
        let mut live = self.live.subscribe();
        let other = |live: &Option<CurrentConnection>| {
            live.as_ref().is_none_or(|live| live.number != number)
        };
        while timeout(PING_INTERVAL, live.wait_for(other)).await.is_err() {
            // A failure ends the connection.
            let _ = self.run(redis::cmd("PING")).await;
        }
    }
}
