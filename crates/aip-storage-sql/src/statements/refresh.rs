//! Rotation of refresh tokens (RFC 9700 §4.14.2): one successor, set by compare-and-set.

use aip_base::Timestamp;
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::grant::{
    Grant, RefreshToken, RefreshTokens, RevokeReason, Rotate, Rotation, TokenFault,
};
use async_trait::async_trait;

use super::super::rotation;
use super::grant_row::{existing, grant_columns, read_grant};
use super::sql::{Fields, Row, sql, unavailable};
use super::{DbConnection, Store, revoke};

#[async_trait]
impl RefreshTokens for Store {
    async fn rotate_refresh_token(&self, rotation: &Rotation) -> Result<Rotate, StorageError> {
        if let Some(grant) = rotation::spend(self, rotation).await? {
            return Ok(Rotate::Rotated(Box::new(grant)));
        }
        let mut tx = self.begin().await?;
        let outcome = repeat_or_revoke(&mut tx, rotation).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(outcome)
    }

    async fn why_refresh_refused(&self, rotation: &Rotation) -> Result<TokenFault, StorageError> {
        let row = sql("SELECT r.client_id, r.expires_at, g.dpop_jkt,
                 g.revoked_at IS NOT NULL AS ended
             FROM refresh_tokens r JOIN grants g ON g.id = r.grant_id WHERE r.hash = $1")
        .bind(&rotation.refresh)
        .first(self.reader())
        .await?;
        let Some(row) = row else {
            return Ok(TokenFault::Unknown);
        };
        let fields = Fields::of("refresh_tokens", "client_id", &row)?;
        let client: ClientId = fields.get("client_id")?;
        let key: Option<String> = fields.get("dpop_jkt")?;
        let expires_at: Timestamp = fields.get("expires_at")?;
        let ended: bool = fields.get("ended")?;
        Ok(if client != rotation.client_id {
            TokenFault::OtherClient(client)
        } else if key != rotation.dpop_jkt && !rotation.any_key {
            TokenFault::OtherKey
        } else if expires_at <= rotation.now {
            TokenFault::Expired(expires_at)
        } else if ended {
            TokenFault::GrantEnded
        } else {
            TokenFault::Raced
        })
    }

    async fn refresh_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<RefreshToken>, StorageError> {
        let read = |row: &Row| {
            let fields = Fields::of("grants", "id", row)?;
            Ok(RefreshToken {
                grant: read_grant(row)?,
                spent: fields.get("spent")?,
                issued_at: fields.get("issued_at")?,
                expires_at: fields.get("expires_at")?,
            })
        };
        sql(concat!(
            "SELECT t.issued_at, t.expires_at, t.successor IS NOT NULL AS spent, ",
            grant_columns!(),
            " FROM refresh_tokens t JOIN grants g ON g.id = t.grant_id
             WHERE t.hash = $1 AND t.expires_at > $2 AND g.revoked_at IS NULL"
        ))
        .bind((hash, &now))
        .one(self.reader(), read)
        .await
    }
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
             (hash, grant_id, client_id, scope, issued_at, expires_at, dpop_jkt, audience)
         SELECT $1, $2, $3, $4, $5, $6, $10, $11
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
    .bind(&tokens.access_audience)
    .execute(conn)
    .await?;
    Ok(stored == 1)
}
