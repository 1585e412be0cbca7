//! PostgreSQL: one pool, no session state (a transaction pooler may sit in front).

use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aip_base::Rng;
use aip_storage::StorageError;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Postgres, Row as _, Transaction};
use tokio::time::timeout;

use crate::STATEMENTS;
use crate::failure::DriverError;
use crate::schema::{SchemaError, Status, migrator};

macro_rules! for_update {
    () => {
        " FOR UPDATE"
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

#[allow(
    clippy::duplicate_mod,
    reason = "the statements are compiled once for each engine"
)]
#[path = "statements/mod.rs"]
mod statements;

mod notices;
mod pooler;
mod rotation;

use self::notices::PgNotices;
use self::statements::pool::{Pool, PoolConfig};
use self::statements::pooled::PooledTransaction;

type Db = Postgres;
type Store = PgStorage;

/// At the isolation that the statements are written for, whatever the default.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// A request waits no longer for a connection; then it is told that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Short, so that connections follow a fail-over or a rebalanced pooler.
const MAX_LIFETIME: Duration = Duration::from_mins(5);
/// A connection that idled longer is tested before it is used; busier ones are not.
const TESTED_AFTER: Duration = Duration::from_secs(5);
/// How long a migration waits for another process that migrates.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(100);
/// The advisory lock of migrations: the letters `aip-sql\0`.
const LOCK_ID: i64 = i64::from_be_bytes(*b"aip-sql\0");

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    migrator(&[
        (
            1,
            "init",
            include_str!("../migrations/postgres/0001_init.sql"),
        ),
        (
            2,
            "shared state",
            include_str!("../migrations/postgres/0002_shared_state.sql"),
        ),
        (
            3,
            "app passwords",
            include_str!("../migrations/postgres/0003_app_passwords.sql"),
        ),
        (
            4,
            "key check",
            include_str!("../migrations/postgres/0004_key_check.sql"),
        ),
        (
            5,
            "rejections",
            include_str!("../migrations/postgres/0005_rejections.sql"),
        ),
        (
            6,
            "grants apart",
            include_str!("../migrations/postgres/0006_grants_apart.sql"),
        ),
        (
            7,
            "parallel pages",
            include_str!("../migrations/postgres/0007_parallel_pages.sql"),
        ),
    ])
});

/// Storage in a PostgreSQL database.
#[derive(Clone)]
pub struct PgStorage {
    connections: Pool,
    options: Arc<PgConnectOptions>,
    /// A pooler gives each transaction another connection.
    pooled: bool,
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
    /// Connects. Accepts `postgres://`, `postgresql://` and, from earlier deployments,
    /// `postgresql+asyncpg://`.
    pub async fn connect(url: &str, options: PgOptions) -> Result<Self, ConnectPgError> {
        let mut connect_options = connect_options(url)?;
        let pooled = timeout(ACQUIRE_TIMEOUT, pooler::multiplexes(&connect_options))
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(|error| ConnectPgError::Connect(error.into()))?;
        if pooled {
            tracing::warn!(
                "transaction pooler detected: no statement cache, and no LISTEN for notices of other \
                 replicas"
            );
            connect_options = connect_options.statement_cache_capacity(0);
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
        let connections = Pool::open(connect_options.clone(), config)
            .await
            .map_err(|error| ConnectPgError::Connect(error.into()))?;
        Ok(Self {
            connections,
            options: Arc::new(connect_options),
            pooled,
        })
    }

    /// How far the schema is.
    pub async fn status(&self) -> Result<Status, SchemaError> {
        statements::schema::status(self, &MIGRATIONS).await
    }

    /// Brings the schema up to this program; the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>, SchemaError> {
        statements::schema::migrate(self, &MIGRATIONS).await
    }

    /// Closes the connections once their statements are done.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// Starts to listen for notices.
    pub(crate) fn notices(&self, rng: Arc<dyn Rng>) -> PgNotices {
        PgNotices::new(self.clone(), rng)
    }

    fn reader(&self) -> &Pool {
        &self.connections
    }

    fn writer(&self) -> &Pool {
        &self.connections
    }

    async fn begin(&self) -> Result<PooledTransaction, StorageError> {
        let begun = self.connections.begin().await;
        begun.map_err(|e| StorageError::Unavailable(Box::new(DriverError::from(e))))
    }

    /// Takes the lock of migrations until the transaction ends. By trying: a session that waits
    /// for a lock holds a snapshot, on which some migrations would wait in turn.
    async fn lock_schema(&self, tx: &mut Transaction<'_, Postgres>) -> Result<(), SchemaError> {
        let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
        loop {
            let row = sqlx::query("SELECT pg_try_advisory_xact_lock($1)")
                .bind(LOCK_ID)
                .fetch_one(&mut **tx)
                .await;
            let taken = row
                .and_then(|row| row.try_get(0))
                .map_err(|e| StorageError::Unavailable(Box::new(DriverError::from(e))))?;
            if taken {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(SchemaError::Busy);
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }
}

impl fmt::Debug for PgStorage {
    /// Without the options, which hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PgStorage").field(&self.connections).finish()
    }
}

fn connect_options(url: &str) -> Result<PgConnectOptions, ConnectPgError> {
    let url = match url.strip_prefix("postgresql+asyncpg://") {
        Some(rest) => format!("postgresql://{rest}"),
        None => url.to_owned(),
    };
    let options = PgConnectOptions::from_str(&url).map_err(|_| ConnectPgError::Url)?;
    // No column is a fraction, and poolers refuse parameters that they do not know.
    Ok(options
        .application_name("aip")
        .extra_float_digits(None)
        .statement_cache_capacity(STATEMENTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_earlier_deployments_is_understood() {
        for scheme in ["postgres", "postgresql", "postgresql+asyncpg"] {
            let options = connect_options(&format!("{scheme}://u:p@db.example:6432/aip")).unwrap();
            assert_eq!(
                (options.get_host(), options.get_port()),
                ("db.example", 6432)
            );
            assert_eq!(
                (options.get_username(), options.get_database()),
                ("u", Some("aip"))
            );
        }
    }

    #[test]
    fn a_malformed_url_is_not_repeated_in_the_error() {
        let error = connect_options("postgres://u:secret@db:port/aip").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
