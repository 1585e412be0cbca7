//! PostgreSQL: one pool, no session state (a transaction pooler may sit in front).

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use aip_base::Rng;
use aip_storage::StorageError;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::STATEMENT_CACHE_SIZE;
use crate::failure::DriverError;
use crate::migrations::{ON_POSTGRES, apply};
use crate::pool::{Pool, PoolConfig, PooledTransaction};
use crate::schema::{SchemaError, Status};
use crate::sql::unavailable;

macro_rules! for_update {
    () => {
        " FOR UPDATE"
    };
}
macro_rules! for_share {
    () => {
        " FOR SHARE"
    };
}
macro_rules! skip_locked {
    () => {
        " FOR UPDATE SKIP LOCKED"
    };
}
/// Leases are judged by one clock for all replicas; the caller's instant is not looked at.
macro_rules! database_now {
    ($given:literal) => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    };
}
/// The JSON object of a column with the members of a given one, each in place of what it had.
macro_rules! json_with {
    ($column:literal, $given:literal) => {
        concat!(
            "CAST(CAST(COALESCE(",
            $column,
            ", '{}') AS JSONB) || CAST(CAST(",
            $given,
            " AS TEXT) AS JSONB) AS TEXT)"
        )
    };
}

#[allow(
    clippy::duplicate_mod,
    reason = "the statements are compiled once for each engine"
)]
#[path = "statements/mod.rs"]
mod statements;

mod migrate;
mod moving;
mod notices;
mod pooler;
mod rotation;
mod server_facts;

use self::moving::Following;
pub use self::moving::{
    DatabaseMove, FollowError, MAX_PAUSE, MoveError, MoveObserver, MovePoint, MoveState,
    MoveStatus, SwitchResult,
};
use self::notices::PgNotices;
pub use self::server_facts::{ReplicaFacts, ServerFacts};

type Driver = PgConnection;
type Store = PgStorage;

/// A request waits no longer for a connection; then it fails: the database is unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Short, so that connections follow a fail-over or a rebalanced pooler.
const MAX_LIFETIME: Duration = Duration::from_mins(5);
/// A connection that idled longer is tested before it is used; busier ones are not.
const TESTED_AFTER: Duration = Duration::from_secs(5);

/// Storage in a PostgreSQL database.
#[derive(Clone)]
pub struct PgStorage {
    /// Callers wait while the database is known to have been moved, and its successor cannot be reached.
    connections: Pool<Driver>,
    /// The same; who writes waits while the database is moved.
    writers: Pool<Driver>,
    /// How to connect; another value when the database has been moved.
    options: watch::Receiver<Arc<PgConnectOptions>>,
    /// A pooler gives each transaction another connection.
    pooled: bool,
    /// Waits for the database to be moved, as long as this lives.
    following: Option<Arc<Following>>,
}

/// How to connect.
#[derive(Debug, Clone, Copy)]
pub struct PgOptions {
    /// The most connections of this process.
    pub pool_size: u32,
    /// How long a statement may take. Then its connection is given up: a server that was cut off
    /// is silent, and would be waited for very long.
    pub statement_time: Duration,
}

/// The server cannot be reached. The URL is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectPgError {
    /// The URL is malformed.
    #[error("the URL of the PostgreSQL database is malformed")]
    Url,
    /// No connection.
    #[error("cannot connect to PostgreSQL: {0}")]
    Connect(#[source] DriverError),
    /// `sslmode` requires encryption, and the server has none.
    #[error(
        "the PostgreSQL server offers no TLS, which sslmode of the database URL requires: switch `ssl` on in \
         the server's postgresql.conf, or name the server that was meant"
    )]
    NoTls,
    /// The server's certificate is not believed, or the authorities to believe cannot be read.
    #[error(
        "no TLS connection to PostgreSQL: {0}: sslrootcert of the database URL names the file (PEM) of the \
         authority that signed the server's certificate, and the host of the URL must be one that it is for"
    )]
    Tls(#[source] DriverError),
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            pool_size: 16,
            statement_time: Duration::from_secs(30),
        }
    }
}

impl PgStorage {
    /// Connects to the server of a `postgres://` URL.
    pub async fn connect(url: &SecretString, options: PgOptions) -> Result<Self, ConnectPgError> {
        Self::connect_with(connect_options(url)?, options).await
    }

    async fn connect_with(
        mut connect_options: PgConnectOptions,
        options: PgOptions,
    ) -> Result<Self, ConnectPgError> {
        let probed = timeout(ACQUIRE_TIMEOUT, pooler::probe(&connect_options))
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(connect_error)?;
        let pooled = probed.multiplexed;
        let mut first = Some(probed.connection);
        if pooled {
            tracing::warn!(
                "transaction pooler detected: no statement cache, and no LISTEN for notices of other \
                 replicas"
            );
            connect_options = connect_options.statement_cache_capacity(0);
            // It has a statement cache.
            first = None;
        }
        let config = PoolConfig {
            name: "postgres",
            max_connections: options.pool_size,
            acquire_timeout: ACQUIRE_TIMEOUT,
            max_age: MAX_LIFETIME,
            test_after_idle: TESTED_AFTER,
            statement_timeout: options.statement_time,
            prepares_statements: !pooled,
        };
        let connections = Pool::open_with(connect_options.clone(), config, first)
            .await
            .map_err(connect_error)?;
        Ok(Self {
            writers: connections.clone(),
            connections,
            options: watch::channel(Arc::new(connect_options)).1,
            pooled,
            following: None,
        })
    }

    /// How far the schema is.
    pub async fn status(&self) -> Result<Status, SchemaError> {
        apply::status(&self.connections, &ON_POSTGRES).await
    }

    /// Brings the schema up to this program; the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>, SchemaError> {
        migrate::migrate(&self.connections, &ON_POSTGRES).await
    }

    /// Closes the connections once their statements are done.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// Starts to listen for notices.
    pub(crate) fn notices(&self, rng: Arc<dyn Rng>) -> PgNotices {
        PgNotices::new(self.clone(), rng)
    }

    fn reader(&self) -> &Pool<Driver> {
        &self.connections
    }

    fn writer(&self) -> &Pool<Driver> {
        &self.writers
    }

    /// For writes of what is not moved, which no move pauses.
    fn unfenced(&self) -> &Pool<Driver> {
        &self.connections
    }

    async fn begin(&self) -> Result<PooledTransaction<Driver>, StorageError> {
        self.writers.begin().await.map_err(unavailable)
    }
}

impl fmt::Debug for PgStorage {
    /// Without the options, which hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PgStorage").field(&self.connections).finish()
    }
}

fn connect_options(url: &SecretString) -> Result<PgConnectOptions, ConnectPgError> {
    let options =
        PgConnectOptions::from_str(url.expose_secret()).map_err(|_| ConnectPgError::Url)?;
    // No column is a fraction, and poolers refuse parameters that they do not know.
    Ok(options
        .application_name("aip")
        .extra_float_digits(None)
        .statement_cache_capacity(STATEMENT_CACHE_SIZE))
}

fn connect_error(error: sqlx::Error) -> ConnectPgError {
    /// What the driver says of a server that answers `N` to an `SSLRequest`.
    const NO_TLS: &str = "server does not support TLS";
    match &error {
        sqlx::Error::Tls(why) if why.to_string() == NO_TLS => ConnectPgError::NoTls,
        sqlx::Error::Tls(_) => ConnectPgError::Tls(error.into()),
        // So rustls reports a handshake that it ends, such as for a certificate that it does not believe.
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            ConnectPgError::Tls(error.into())
        }
        _ => ConnectPgError::Connect(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_url_is_not_repeated_in_the_error() {
        let error = connect_options(&"postgres://u:secret@db:port/aip".into()).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
