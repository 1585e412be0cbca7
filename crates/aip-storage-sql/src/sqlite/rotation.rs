//! Spending a refresh token, step by step in one transaction.

use aip_storage::StorageError;
use aip_storage::grant::{Grant, Rotation};

use super::SqliteStorage;
use super::statements::grant_row::existing;
use super::statements::sql::{Fields, sql, unavailable};
use super::statements::tokens::{
    bind_spending, insert_access_token, insert_refresh_token, spend_refresh_token,
};

/// Spends the token and stores what follows it. `None`: it could not be spent, nothing changed.
pub(super) async fn spend(
    store: &SqliteStorage,
    rotation: &Rotation,
) -> Result<Option<Grant>, StorageError> {
    let mut tx = store.begin().await?;
    let statement = sql(spend_refresh_token!());
    let Some(row) = bind_spending(statement, rotation).first(&mut *tx).await? else {
        return Ok(None);
    };
    let id = Fields::of("refresh_tokens", "grant_id", &row)?.get("grant_id")?;
    let grant = existing(&mut tx, id).await?;
    if rotation.rotates {
        insert_refresh_token(&mut tx, &grant, &rotation.tokens, rotation.now).await?;
    }
    let jkt = rotation.dpop_jkt.as_ref();
    insert_access_token(&mut tx, &grant, &rotation.tokens, jkt, rotation.now).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(Some(grant))
}
