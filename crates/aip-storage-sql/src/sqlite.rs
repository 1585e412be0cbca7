//! SQLite: one file, one writer, many readers (write-ahead log).

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aip_storage::StorageError;
use sqlx::SqliteConnection;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::time::{Instant, sleep};

use crate::STATEMENT_CACHE_SIZE;
use crate::migrations::ON_SQLITE;
use crate::migrations::apply::{self, SchemaDriver};
use crate::pool::{Pool, PoolConfig, PooledTransaction};
use crate::schema::{SchemaError, Status};
use crate::sql::unavailable;

/// Nothing to lock: there is one writer, and it holds the file.
macro_rules! for_update {
    () => {
        ""
    };
}
macro_rules! for_share {
    () => {
        ""
    };
}
macro_rules! skip_locked {
    () => {
        ""
    };
}
/// One process owns the file, so its clock is the clock.
macro_rules! database_now {
    ($given:literal) => {
        $given
    };
}
/// The JSON object of a column with the members of a given one. Those that are null are taken away.
macro_rules! json_with {
    ($column:literal, $given:literal) => {
        concat!("json_patch(COALESCE(", $column, ", '{}'), ", $given, ")")
    };
}

#[allow(
    clippy::duplicate_mod,
    reason = "the statements are compiled once for each engine"
)]
#[path = "statements/mod.rs"]
mod statements;

mod copy;
mod rotation;

pub use self::copy::{CopiedSessions, CopyError, check_database, copy_database};

type Driver = SqliteConnection;
type Store = SqliteStorage;

/// How long somebody waits for a connection: the one writer is held for a few milliseconds at a
/// time.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a statement may take.
const STATEMENT_TIME: Duration = Duration::from_secs(30);
/// How long a writer waits for another process (a backup, `aip` on the command line).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between attempts to open a file that is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// The primary result code, the low byte of every code (<https://sqlite.org/rescode.html>).
const SQLITE_BUSY: u32 = 5;
const READER_CONNECTIONS: u32 = 4;

/// Storage in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStorage {
    writer: Pool<Driver>,
    reader: Pool<Driver>,
}

/// The file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSqliteError {
    /// It cannot be created or made private.
    #[error("cannot open {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// It is not a database, or cannot be used as one.
    #[error("cannot use {} as a database: {source}", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        source: sqlx::Error,
    },
}

impl SqliteStorage {
    /// Opens the database, creating it (readable by its owner alone) if it is not there.
    pub async fn open(path: &Path) -> Result<Self, OpenSqliteError> {
        create_private(path).map_err(|source| OpenSqliteError::File {
            path: path.to_owned(),
            source,
        })?;
        let unusable = |source| OpenSqliteError::Database {
            path: path.to_owned(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // `NORMAL` may lose the last commits at a power cut. A rotated refresh token that is
            // forgotten ends the session at the PDS, so every commit is synced.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .statement_cache_capacity(STATEMENT_CACHE_SIZE);
        let reading = options.clone().pragma("query_only", "ON");
        let writer = open_pool(options, config("writer", 1))
            .await
            .map_err(unusable)?;
        let reader = open_pool(reading, config("reader", READER_CONNECTIONS))
            .await
            .map_err(unusable)?;
        Ok(Self { writer, reader })
    }

    /// How far the schema is.
    pub async fn status(&self) -> Result<Status, SchemaError> {
        apply::status(&self.writer, &ON_SQLITE).await
    }

    /// Brings the schema up to this program; the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>, SchemaError> {
        // No step of this engine needs to run outside a transaction.
        Ok(apply::apply_pending(&self.writer, &ON_SQLITE)
            .await?
            .versions)
    }

    /// Closes the connections once their statements are done.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    fn reader(&self) -> &Pool<Driver> {
        &self.reader
    }

    fn writer(&self) -> &Pool<Driver> {
        &self.writer
    }

    /// For writes of what is not moved, which no move pauses: here there are no moves.
    fn unfenced(&self) -> &Pool<Driver> {
        &self.writer
    }

    async fn begin(&self) -> Result<PooledTransaction<Driver>, StorageError> {
        self.writer.begin().await.map_err(unavailable)
    }
}

/// Opens the first connection of a pool. Of several processes that open a new file, one changes it
/// to the write-ahead log, and the others are told at once that it is busy: the busy timeout does
/// not cover a read lock that becomes a write lock (<https://sqlite.org/c3ref/busy_handler.html>).
async fn open_pool(
    options: SqliteConnectOptions,
    config: PoolConfig,
) -> Result<Pool<Driver>, sqlx::Error> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match Pool::open(options.clone(), config).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(BUSY_PAUSE).await,
            opened => return opened,
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

impl SchemaDriver for SqliteConnection {
    /// The transaction is the lock: it began with `BEGIN IMMEDIATE`.
    async fn lock_schema(&mut self) -> Result<(), SchemaError> {
        Ok(())
    }
}

/// Connections to a file do not go stale: none is tested or replaced.
fn config(name: &'static str, max_connections: u32) -> PoolConfig {
    PoolConfig {
        name,
        max_connections,
        acquire_timeout: ACQUIRE_TIMEOUT,
        max_age: Duration::MAX,
        test_after_idle: Duration::MAX,
        statement_timeout: STATEMENT_TIME,
        prepares_statements: true,
    }
}

/// Creates the file if need be and takes it away from everybody but its owner. SQLite gives its
/// side files the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    drop(file);
    Ok(())
}
