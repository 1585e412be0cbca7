//! The schema's version: read, compared with this program's, brought up.

use aip_storage::StorageError;
use sqlx::migrate::Migrate;

use super::EngineMigration;
use crate::pool::{Connection, Driver, Pool};
use crate::schema::{self, SchemaError, Status, TABLE};
use crate::sql::unavailable;

/// An engine whose schema can be brought up.
pub(crate) trait SchemaDriver: Driver + Migrate {
    /// Takes the lock of migrations until the transaction ends.
    fn lock_schema(&mut self) -> impl Future<Output = Result<(), SchemaError>> + Send;

    /// Refuses to apply what is `pending` while the database is part of a move. To be asked under the lock.
    fn require_no_move(
        &mut self,
        _pending: &[i64],
    ) -> impl Future<Output = Result<(), SchemaError>> + Send {
        async { Ok(()) }
    }
}

/// What one transaction applied.
pub(crate) struct Applied<'m> {
    /// In order.
    pub(crate) versions: Vec<i64>,
    /// The next migration, which cannot run in a transaction, and its index.
    pub(crate) next_outside: Option<(&'m EngineMigration, &'static str)>,
}

/// Compares the applied migrations with those of this program. Changes nothing.
pub(crate) async fn status<D: SchemaDriver>(
    pool: &Pool<D>,
    known: &[EngineMigration],
) -> Result<Status, SchemaError> {
    let mut tx = pool.begin().await.map_err(unavailable)?;
    forget_statements(&mut tx).await?;
    // In a transaction that is rolled back: looking must not create the table.
    let status = read_status(&mut tx, known).await;
    forget_statements(&mut tx).await?;
    tx.rollback().await.map_err(unavailable)?;
    status
}

/// Applies what is pending, in one transaction under the engine's lock, up to the first migration
/// that cannot run in one.
pub(crate) async fn apply_pending<'m, D: SchemaDriver>(
    pool: &Pool<D>,
    known: &'m [EngineMigration],
) -> Result<Applied<'m>, SchemaError> {
    let mut tx = pool.begin().await.map_err(unavailable)?;
    forget_statements(&mut tx).await?;
    tx.driver().map_err(unavailable)?.lock_schema().await?;
    let pending = read_status(&mut tx, known).await?.pending();
    if !pending.is_empty() {
        let driver = tx.driver().map_err(unavailable)?;
        driver.require_no_move(&pending).await?;
    }
    let mut applied = Applied {
        versions: Vec::new(),
        next_outside: None,
    };
    for it in known {
        let (version, name) = (it.migration.version, &it.migration.description);
        if !pending.contains(&version) {
            continue;
        }
        if let Some(index) = it.concurrent_index {
            applied.next_outside = Some((it, index));
            break;
        }
        let driver = tx.driver().map_err(unavailable)?;
        driver.apply(TABLE, &it.migration).await?;
        tracing::info!(version, %name, "migration applied");
        applied.versions.push(version);
    }
    forget_statements(&mut tx).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(applied)
}

/// Compares the applied migrations with those of this program, in a transaction. Creates the table
/// of migrations if there is none.
pub(crate) async fn read_status<D: SchemaDriver>(
    tx: &mut Connection<D>,
    known: &[EngineMigration],
) -> Result<Status, SchemaError> {
    let driver = tx.driver().map_err(unavailable)?;
    driver.ensure_migrations_table(TABLE).await?;
    let applied = driver.list_applied_migrations(TABLE).await?;
    schema::compare(known, &applied)
}

/// `sqlx` gives names to the statements of migrations. Behind a pooler of transactions they would
/// stay on a connection that others get next, and meet theirs.
pub(crate) async fn forget_statements<D: Driver>(
    tx: &mut Connection<D>,
) -> Result<(), StorageError> {
    if tx.prepares_statements() {
        return Ok(());
    }
    let driver = tx.driver().map_err(unavailable)?;
    driver.run("DEALLOCATE ALL").await.map_err(unavailable)
}
