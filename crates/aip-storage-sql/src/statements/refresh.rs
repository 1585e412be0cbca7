//! Rotation of refresh tokens (RFC 9700 §4.14.2): one successor, set by compare-and-set.

use aip_storage::StorageError;
use aip_storage::grant::{Grant, RevokeReason, Rotate, Rotation};

use super::super::rotation;
use super::grant_row::{existing, grant_columns, read_grant};
use super::sql::{Fields, sql, unavailable};
use super::{DbConnection, Store, revoke};

pub(super) async fn rotate(store: &Store, rotation: &Rotation) -> Result<Rotate, StorageError> {
    if let Some(grant) = rotation::spend(store, rotation).await? {
        return Ok(Rotate::Rotated(Box::new(grant)));
    }
    let mut tx = store.begin().await?;
    let outcome = repeat_or_revoke(&mut tx, rotation).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(outcome)
}

/// The presented token could not be spent: says why, serves a repeat within the grace, and ends
/// the family of a replayed token.
async fn repeat_or_revoke(
    conn: &mut DbConnection,
    rotation: &Rotation,
) -> Result<Rotate, StorageError> {
    let row = sql(concat!(
        "SELECT r.successor IS NOT NULL AS spent, ",
        grant_columns!(),
        " FROM refresh_tokens r JOIN grants g ON g.id = r.grant_id
         WHERE r.hash = $1 AND r.client_id = $2 AND r.expires_at > $3
             AND (g.dpop_jkt IS NOT DISTINCT FROM $4 OR ($5 AND $4 IS NOT NULL))"
    ))
    .bind(&rotation.refresh)
    .bind(&rotation.client_id)
    .bind(&rotation.now)
    .bind(&rotation.dpop_jkt)
    .bind(&rotation.any_key)
    .first(&mut *conn)
    .await?;
    let Some(row) = row else {
        return Ok(Rotate::Refused);
    };
    let grant = read_grant(&row)?;
    if grant.revoked.is_some() {
        return Ok(Rotate::Ended(Box::new(grant)));
    }
    let spent: bool = Fields::of("grants", "id", &row)?.get("spent")?;
    if !spent {
        return Ok(Rotate::Refused);
    }
    if repeat(conn, &grant, rotation).await? {
        return Ok(Rotate::Rotated(Box::new(grant)));
    }
    revoke::revoke_grant(conn, grant.id, RevokeReason::RefreshReplayed, rotation.now).await?;
    Ok(Rotate::Replayed(Box::new(existing(conn, grant.id).await?)))
}

/// Stores the access token of a repeat, if it is one: within the grace, with the same successor,
/// which nobody has used. The conditions are those of the insert itself, so that a successor that
/// is spent meanwhile is noticed.
async fn repeat(
    conn: &mut DbConnection,
    grant: &Grant,
    rotation: &Rotation,
) -> Result<bool, StorageError> {
    let tokens = &rotation.tokens;
    let stored = sql("INSERT INTO access_tokens
             (hash, grant_id, client_id, scope, issued_at, expires_at, dpop_jkt)
         SELECT $1, $2, $3, $4, $5, $6, $10
         WHERE EXISTS (
             SELECT 1 FROM refresh_tokens used
             JOIN refresh_tokens successor ON successor.hash = used.successor
             WHERE used.hash = $7 AND used.successor = $8 AND used.used_at > $9
                 AND successor.successor IS NULL AND successor.expires_at > $5)")
    .bind(&tokens.access)
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&tokens.access_scope)
    .bind(&rotation.now)
    .bind(&tokens.access_expires_at)
    .bind(&rotation.refresh)
    .bind(&tokens.refresh)
    .bind(&(rotation.now - rotation.grace))
    .bind(&rotation.dpop_jkt)
    .execute(conn)
    .await?;
    Ok(stored == 1)
}
