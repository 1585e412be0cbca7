//! The schema's version: read, compared with this program's, brought up.

use sqlx::migrate::{Migrate as _, Migrator};

use super::Store;
use super::sql::unavailable;
use crate::schema::{self, SchemaError, Status, TABLE};

/// Compares the applied migrations with those of this program. Changes nothing.
pub(in super::super) async fn status(
    store: &Store,
    migrator: &Migrator,
) -> Result<Status, SchemaError> {
    let mut tx = store.begin().await?;
    // In a transaction that is rolled back: looking must not create the table.
    tx.ensure_migrations_table(TABLE).await?;
    let applied = tx.list_applied_migrations(TABLE).await?;
    tx.rollback().await.map_err(unavailable)?;
    schema::compare(migrator, &applied)
}

/// Applies what is pending, in one transaction under the engine's lock. Returns the versions.
pub(in super::super) async fn migrate(
    store: &Store,
    migrator: &Migrator,
) -> Result<Vec<i64>, SchemaError> {
    let mut tx = store.begin().await?;
    store.lock_schema(&mut tx).await?;
    tx.ensure_migrations_table(TABLE).await?;
    let applied = tx.list_applied_migrations(TABLE).await?;
    let pending = schema::compare(migrator, &applied)?.pending();
    for migration in migrator.iter().filter(|it| pending.contains(&it.version)) {
        tx.apply(TABLE, migration).await?;
        let (version, name) = (migration.version, &migration.description);
        tracing::info!(version, %name, "migration applied");
    }
    tx.commit().await.map_err(unavailable)?;
    Ok(pending)
}
