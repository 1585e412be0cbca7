//! Copies of a SQLite database: made while servers use it, and examined before one is restored.
//!
//! A copy is made by `VACUUM INTO` (<https://sqlite.org/lang_vacuum.html#vacuuminto>): one read
//! transaction, so the copy is the database at one instant. In the write-ahead log a reader blocks
//! no writer; the log only grows until the reader is done. The backup API of SQLite
//! (<https://sqlite.org/backup.html>) starts over whenever another process writes, and
//! libsqlite3-sys 0.37.0 (looked at on 2026-11-30) has it as unsafe functions alone.

use std::path::{Path, PathBuf};

use aip_base::Timestamp;
use aip_storage::StorageError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use super::statements::sql::{Fields, Row, sql};
use super::{BUSY_TIMEOUT, SqliteStorage};
use crate::failure::DriverError;

/// What the time of a copy is counted from, 2026-01-01T00:00:00Z: `user_version` has 31 bits, and
/// seconds since 1970 need more from 2038 on.
const COPY_EPOCH_SECONDS: i64 = 1_767_225_600;

/// There is no copy, or it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database cannot be read, or the copy cannot be written.
    #[error("cannot copy {} to {}: {source}", .from.display(), .to.display())]
    Failed {
        /// The database.
        from: PathBuf,
        /// The copy.
        to: PathBuf,
        /// What SQLite says.
        source: DriverError,
    },
    /// SQLite takes names of files in UTF-8 only.
    #[error("the name {} is not UTF-8", .0.display())]
    Name(PathBuf),
    /// The file is no database, or parts of it do not fit together.
    #[error("{} is damaged, or no SQLite database: {found}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first thing that is wrong.
        found: String,
    },
}

/// How the upstream sessions of a database are, seen from a copy of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopiedSessions {
    /// Those that can be used.
    pub live: u64,
    /// Of these, those whose next refresh is past: a server that ran has made it.
    pub due: u64,
    /// Of the live ones, those that were last refreshed before the copy was made; one of the same
    /// second may be missing.
    pub not_refreshed_since: u64,
    /// Those whose refresh token their PDS refused.
    pub refused: u64,
}

/// Copies the database `from`, which servers may be using, to `to`, which does not exist or is
/// empty. `taken_at` is kept in the copy, to the second, in the header field that SQLite leaves to
/// programs (<https://sqlite.org/pragma.html#pragma_user_version>).
pub async fn copy_database(from: &Path, to: &Path, taken_at: Timestamp) -> Result<(), CopyError> {
    let failed = |source: sqlx::Error| CopyError::Failed {
        from: from.to_owned(),
        to: to.to_owned(),
        source: source.into(),
    };
    let Some(target) = to.to_str() else {
        return Err(CopyError::Name(to.to_owned()));
    };
    let mut source = SqliteConnection::connect_with(&options(from))
        .await
        .map_err(failed)?;
    sqlx::query("VACUUM INTO $1")
        .bind(target.to_owned())
        .execute(&mut source)
        .await
        .map_err(failed)?;
    source.close().await.map_err(failed)?;
    let seconds = taken_at.as_secs().saturating_sub(COPY_EPOCH_SECONDS);
    let marked = options(to).pragma("user_version", seconds.to_string());
    let copy = SqliteConnection::connect_with(&marked)
        .await
        .map_err(failed)?;
    copy.close().await.map_err(failed)
}

/// Reads all of the file, which nobody uses, and refuses one that is damaged.
pub async fn check_database(path: &Path) -> Result<(), CopyError> {
    let damaged = |found: String| CopyError::Damaged {
        path: path.to_owned(),
        found,
    };
    let unreadable = |error: sqlx::Error| damaged(DriverError::from(error).to_string());
    let mut connection = SqliteConnection::connect_with(&options(path))
        .await
        .map_err(unreadable)?;
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut connection)
        .await
        .map_err(unreadable)?;
    connection.close().await.map_err(unreadable)?;
    if found == "ok" {
        Ok(())
    } else {
        Err(damaged(found))
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
}

impl SqliteStorage {
    /// When the copy was made that this database is, or was restored from; `None` if
    /// [`copy_database`] did not make it.
    pub async fn copied_at(&self) -> Result<Option<Timestamp>, StorageError> {
        let read = |row: &Row| Fields::of("pragma_user_version", "id", row)?.get("seconds");
        let seconds: Option<i64> =
            sql("SELECT 'header' AS id, user_version AS seconds FROM pragma_user_version")
                .one(self.reader(), read)
                .await?;
        Ok(seconds
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Timestamp::from_secs(COPY_EPOCH_SECONDS.saturating_add(seconds))))
    }

    /// Counts the upstream sessions as they are at `now`, in a database that is, or was, a copy of
    /// `copied_at`.
    pub async fn count_sessions(
        &self,
        copied_at: Timestamp,
        now: Timestamp,
    ) -> Result<CopiedSessions, StorageError> {
        let read = |row: &Row| {
            let fields = Fields::of("upstream_sessions", "id", row)?;
            Ok(CopiedSessions {
                live: fields.get("live")?,
                due: fields.get("due")?,
                not_refreshed_since: fields.get("not_refreshed_since")?,
                refused: fields.get("refused")?,
            })
        };
        let counts = sql("SELECT 'all' AS id,
                 COUNT(CASE WHEN state IN ('active', 'uncertain') THEN 1 END) AS live,
                 COUNT(CASE WHEN state IN ('active', 'uncertain') AND next_refresh_at <= $2
                     THEN 1 END) AS due,
                 COUNT(CASE WHEN state IN ('active', 'uncertain') AND refreshed_at <= $1
                     THEN 1 END) AS not_refreshed_since,
                 COUNT(CASE WHEN state = 'needs_reauth' AND reason = 'refused'
                     THEN 1 END) AS refused
             FROM upstream_sessions")
        .bind((&copied_at, &now))
        .one(self.reader(), read)
        .await?;
        Ok(counts.unwrap_or_default())
    }
}
