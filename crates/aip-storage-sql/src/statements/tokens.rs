//! Refresh and access tokens: spent and stored.

use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::grant::{Grant, NewTokens, Rotation};

use super::DbConnection;
use super::sql::{Sql, sql};

/// Uses a refresh token if every condition holds, and spends it if it is rotated; binds as [`bind_spending`] does. The engines
/// share this text and differ in how they run what follows.
macro_rules! spend_refresh_token {
    () => {
        "UPDATE refresh_tokens SET
             successor = CASE WHEN $7 THEN $1 END, used_at = CASE WHEN $7 THEN $2 END,
             expires_at = CASE WHEN $7 THEN expires_at ELSE $8 END
         WHERE hash = $3 AND client_id = $4 AND successor IS NULL AND expires_at > $2
             AND EXISTS (SELECT 1 FROM grants
                 WHERE grants.id = refresh_tokens.grant_id AND grants.revoked_at IS NULL
                     AND (grants.dpop_jkt IS NOT DISTINCT FROM $5
                         OR ($6 AND $5 IS NOT NULL)))
         RETURNING grant_id"
    };
}
pub(crate) use spend_refresh_token;

/// Binds `$1` to `$8` of `spend_refresh_token!`.
pub(crate) fn bind_spending(statement: Sql, rotation: &Rotation) -> Sql {
    statement
        .bind(&rotation.tokens.refresh)
        .bind(&rotation.now)
        .bind(&rotation.refresh)
        .bind(&rotation.client_id)
        .bind(&rotation.dpop_jkt)
        .bind(&rotation.any_key)
        .bind(&rotation.rotates)
        .bind(&rotation.tokens.refresh_expires_at)
}

pub(crate) async fn insert_refresh_token(
    conn: &mut DbConnection,
    grant: &Grant,
    tokens: &NewTokens,
    now: Timestamp,
) -> Result<(), StorageError> {
    sql(
        "INSERT INTO refresh_tokens (hash, grant_id, client_id, issued_at, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&tokens.refresh)
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&now)
    .bind(&tokens.refresh_expires_at)
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn insert_access_token(
    conn: &mut DbConnection,
    grant: &Grant,
    tokens: &NewTokens,
    dpop_jkt: Option<&String>,
    now: Timestamp,
) -> Result<(), StorageError> {
    sql("INSERT INTO access_tokens
             (hash, grant_id, client_id, scope, issued_at, expires_at, dpop_jkt, audience)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(&tokens.access)
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&tokens.access_scope)
    .bind(&now)
    .bind(&tokens.access_expires_at)
    .bind(&dpop_jkt.cloned())
    .bind(&tokens.access_audience)
    .execute(conn)
    .await?;
    Ok(())
}
