//! The schema's version: read, compared with this program's, brought up.

use aip_storage::StorageError;
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::{Connection as _, Executor as _, Transaction};

use super::sql::unavailable;
use super::{BEGIN, Db, DbConnection, Store};
use crate::schema::{self, SchemaError, Status, TABLE};

/// Compares the applied migrations with those of this program. Changes nothing.
pub(crate) async fn status(store: &Store, migrator: &Migrator) -> Result<Status, SchemaError> {
    let mut connection = store.writer().acquire().await.map_err(unavailable)?;
    let DbConnection {
        driver,
        prepares_statements,
        ..
    } = &mut *connection;
    let mut tx = driver.begin_with(BEGIN).await.map_err(unavailable)?;
    forget_statements(&mut tx, *prepares_statements).await?;
    // In a transaction that is rolled back: looking must not create the table.
    tx.ensure_migrations_table(TABLE).await?;
    let applied = tx.list_applied_migrations(TABLE).await?;
    forget_statements(&mut tx, *prepares_statements).await?;
    tx.rollback().await.map_err(unavailable)?;
    schema::compare(migrator, &applied)
}

/// Applies what is pending, in one transaction under the engine's lock. Returns the versions.
pub(crate) async fn migrate(store: &Store, migrator: &Migrator) -> Result<Vec<i64>, SchemaError> {
    let mut connection = store.writer().acquire().await.map_err(unavailable)?;
    let DbConnection {
        driver,
        prepares_statements,
        ..
    } = &mut *connection;
    let mut tx = driver.begin_with(BEGIN).await.map_err(unavailable)?;
    forget_statements(&mut tx, *prepares_statements).await?;
    store.lock_schema(&mut tx).await?;
    tx.ensure_migrations_table(TABLE).await?;
    let applied = tx.list_applied_migrations(TABLE).await?;
    let pending = schema::compare(migrator, &applied)?.pending();
    for migration in migrator.iter().filter(|it| pending.contains(&it.version)) {
        tx.apply(TABLE, migration).await?;
        let (version, name) = (migration.version, &migration.description);
        tracing::info!(version, %name, "migration applied");
    }
    forget_statements(&mut tx, *prepares_statements).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(pending)
}

/// `sqlx` gives names to the statements of migrations. Behind a pooler of transactions they would
/// stay on a connection that others get next, and meet theirs.
async fn forget_statements(
    tx: &mut Transaction<'_, Db>,
    prepares_statements: bool,
) -> Result<(), StorageError> {
    if !prepares_statements {
        let forget = "DEALLOCATE ALL";
        tx.execute(forget).await.map_err(unavailable)?;
    }
    Ok(())
}
