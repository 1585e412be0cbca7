//! Migrating PostgreSQL while the release before works on it.
//!
//! Steps run in transactions, except those that build an index: a plain `CREATE INDEX` keeps writers
//! of the table waiting, and `CREATE INDEX CONCURRENTLY` cannot run in a transaction. It runs on a
//! connection of its own, while a transaction on another one holds the lock of migrations; the same
//! transaction then notes that the step is applied. Its lock is bound to a transaction, not to a
//! session, so that it also holds behind a pooler of transactions.
//!
//! Whoever is killed leaves no note, and an index in one of three states for the next one:
//! * absent: it is built;
//! * valid: it is noted;
//! * invalid: the server may be building it still, for a client that is gone. Once it is not, and
//!   the index is invalid as before, it is dropped and built anew.

use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::{Instant, sleep};

use super::moving;
use crate::migrations::EngineMigration;
use crate::migrations::apply::{SchemaDriver, apply_pending, forget_statements, read_status};
use crate::pool::{Connection, Driver as _, Pool};
use crate::schema::{SchemaError, TABLE};
use crate::sql::unavailable;

/// How long a migration waits for another process that migrates.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two looks at what another process does.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The advisory lock of migrations: the letters `aip-sql\0`.
const LOCK_ID: i64 = i64::from_be_bytes(*b"aip-sql\0");

/// Whether an index serves queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IndexState {
    Absent,
    /// It is being built, or was not built to its end.
    Invalid,
    Valid,
}

impl SchemaDriver for PgConnection {
    /// By trying: a session that waits for a lock holds a snapshot, on which some migrations would
    /// wait in turn.
    async fn lock_schema(&mut self) -> Result<(), SchemaError> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            let row = sqlx::query("SELECT pg_try_advisory_xact_lock($1)")
                .bind(LOCK_ID)
                .fetch_one(&mut *self)
                .await;
            if row.and_then(|row| row.try_get(0)).map_err(unavailable)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(SchemaError::Busy);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn require_no_move(&mut self, pending: &[i64]) -> Result<(), SchemaError> {
        moving::require_no_move(self, pending).await
    }
}

/// Applies what is pending; the versions that were applied.
pub(super) async fn migrate(
    pool: &Pool<PgConnection>,
    known: &[EngineMigration],
) -> Result<Vec<i64>, SchemaError> {
    let mut versions = Vec::new();
    loop {
        let applied = apply_pending(pool, known).await?;
        versions.extend(applied.versions);
        let Some((next, index)) = applied.next_outside else {
            return Ok(versions);
        };
        if apply_outside(pool, known, next, index).await? {
            versions.push(next.migration.version);
        }
    }
}

/// Builds an index and notes that its migration is applied, unless another process has meanwhile.
async fn apply_outside(
    pool: &Pool<PgConnection>,
    known: &[EngineMigration],
    next: &EngineMigration,
    index: &str,
) -> Result<bool, SchemaError> {
    let migration = &next.migration;
    let mut tx = pool.begin().await.map_err(unavailable)?;
    forget_statements(&mut tx).await?;
    let driver = tx.driver().map_err(unavailable)?;
    // It is idle while the index is built, which may take hours.
    let for_ever = "SET LOCAL idle_in_transaction_session_timeout = 0";
    driver.run(for_ever).await.map_err(unavailable)?;
    driver.lock_schema().await?;
    let pending = read_status(&mut tx, known).await?.pending();
    if !pending.contains(&migration.version) {
        forget_statements(&mut tx).await?;
        tx.commit().await.map_err(unavailable)?;
        return Ok(false);
    }
    let driver = tx.driver().map_err(unavailable)?;
    driver.require_no_move(&pending).await?;
    let mut builder = pool.connect_apart().await.map_err(unavailable)?;
    let built = build(&mut builder, next, index).await;
    builder.close().await;
    built.map_err(|error| MigrateError::ExecuteMigration(error, migration.version))?;
    let driver = tx.driver().map_err(unavailable)?;
    driver.skip(TABLE, migration).await?;
    forget_statements(&mut tx).await?;
    tx.commit().await.map_err(unavailable)?;
    let (version, name) = (migration.version, &migration.description);
    tracing::info!(version, %name, index, "migration applied");
    Ok(true)
}

/// Builds the index unless it is there. Can be repeated after a kill at any point.
async fn build(
    builder: &mut Connection<PgConnection>,
    next: &EngineMigration,
    index: &str,
) -> Result<(), sqlx::Error> {
    let driver = builder.driver()?;
    let mut state = index_state(driver, index).await?;
    if state == IndexState::Invalid {
        wait_for_builder(driver, index).await?;
        state = index_state(driver, index).await?;
    }
    if state == IndexState::Invalid {
        tracing::warn!(index, "dropping an incomplete index");
        let drop_index = format!("DROP INDEX CONCURRENTLY {index}");
        sqlx::raw_sql(AssertSqlSafe(drop_index))
            .execute(&mut *driver)
            .await?;
    }
    if state != IndexState::Valid {
        let create_index = next.migration.sql.clone();
        sqlx::raw_sql(create_index).execute(driver).await?;
    }
    Ok(())
}

/// Waits until no backend builds the index. By asking again and again: a session that waited for a
/// lock of the builder would hold a snapshot, for whose end the builder waits in turn.
async fn wait_for_builder(driver: &mut PgConnection, index: &str) -> Result<(), sqlx::Error> {
    let query = format!(
        "SELECT 1 FROM pg_stat_progress_create_index WHERE index_relid = to_regclass('{index}')"
    );
    loop {
        let building = sqlx::raw_sql(AssertSqlSafe(query.clone()))
            .fetch_optional(&mut *driver)
            .await?;
        if building.is_none() {
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Asked without preparing anything, which a pooler would not keep.
async fn index_state(driver: &mut PgConnection, index: &str) -> Result<IndexState, sqlx::Error> {
    let query =
        format!("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{index}')");
    let row = sqlx::raw_sql(AssertSqlSafe(query))
        .fetch_optional(driver)
        .await?;
    Ok(match row.map(|row| row.try_get(0)).transpose()? {
        None => IndexState::Absent,
        Some(false) => IndexState::Invalid,
        Some(true) => IndexState::Valid,
    })
}

#[cfg(test)]
mod tests;
