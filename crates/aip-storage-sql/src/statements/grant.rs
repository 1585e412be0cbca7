//! Grants and the look-ups of their tokens. Every look-up of a token joins its grant: a revoked
//! grant is the end of all its tokens, on every replica at once.

use aip_atproto::{Did, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::grant::{
    AccessToken, Approval, Approve, CodeRedemption, Grant, Grants, RedeemCode, RefreshToken,
    RevokeReason, Revoked, Rotate, Rotation, TokenFault,
};
use async_trait::async_trait;

use super::sql::{Fields, Row, readable, sql, unavailable};
use super::{DbConnection, Store, approve, code, faults, refresh, revoke};

/// The columns of a grant, under the alias `g`.
macro_rules! grant_columns {
    () => {
        "g.id, g.client_id, g.did, g.scope, g.asked, g.upstream_session, g.dpop_jkt, \
         g.authenticated_at, g.created_at, g.revoked_at, g.revoke_reason"
    };
}
pub(crate) use grant_columns;

#[async_trait]
impl Grants for Store {
    async fn approve(&self, approval: &Approval) -> Result<Approve, StorageError> {
        approve::approve(self, approval).await
    }

    async fn redeem_code(&self, redemption: &CodeRedemption) -> Result<RedeemCode, StorageError> {
        code::redeem(self, redemption).await
    }

    async fn rotate_refresh_token(&self, rotation: &Rotation) -> Result<Rotate, StorageError> {
        refresh::rotate(self, rotation).await
    }

    async fn why_code_refused(
        &self,
        redemption: &CodeRedemption,
    ) -> Result<TokenFault, StorageError> {
        faults::of_code(self, redemption).await
    }

    async fn why_refresh_refused(&self, rotation: &Rotation) -> Result<TokenFault, StorageError> {
        faults::of_refresh_token(self, rotation).await
    }

    async fn access_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, StorageError> {
        let row = sql(concat!(
            "SELECT t.scope AS narrowed_scope, t.issued_at, t.expires_at,
                 COALESCE(t.dpop_jkt, g.dpop_jkt) AS token_jkt, ",
            grant_columns!(),
            " FROM access_tokens t JOIN grants g ON g.id = t.grant_id
             WHERE t.hash = $1 AND t.expires_at > $2 AND g.revoked_at IS NULL"
        ))
        .bind(hash)
        .bind(&now)
        .first(self.reader())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let grant = read_grant(&row)?;
        let fields = Fields::of("grants", "id", &row)?;
        let narrowed: Option<_> = fields.get("narrowed_scope")?;
        Ok(Some(AccessToken {
            scope: narrowed.unwrap_or_else(|| grant.scope.clone()),
            dpop_jkt: fields.get("token_jkt")?,
            issued_at: fields.get("issued_at")?,
            expires_at: fields.get("expires_at")?,
            grant,
        }))
    }

    async fn refresh_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<RefreshToken>, StorageError> {
        let row = sql(concat!(
            "SELECT t.issued_at, t.expires_at, t.successor IS NOT NULL AS spent, ",
            grant_columns!(),
            " FROM refresh_tokens t JOIN grants g ON g.id = t.grant_id
             WHERE t.hash = $1 AND t.expires_at > $2 AND g.revoked_at IS NULL"
        ))
        .bind(hash)
        .bind(&now)
        .first(self.reader())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let fields = Fields::of("grants", "id", &row)?;
        Ok(Some(RefreshToken {
            grant: read_grant(&row)?,
            spent: fields.get("spent")?,
            issued_at: fields.get("issued_at")?,
            expires_at: fields.get("expires_at")?,
        }))
    }

    async fn revoke_access_token(
        &self,
        hash: &TokenHash,
        client: &ClientId,
    ) -> Result<bool, StorageError> {
        let deleted = sql("DELETE FROM access_tokens WHERE hash = $1 AND client_id = $2")
            .bind(hash)
            .bind(client)
            .execute(self.writer())
            .await?;
        Ok(deleted == 1)
    }

    async fn revoke_grant(
        &self,
        id: RowId,
        reason: RevokeReason,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let mut tx = self.begin().await?;
        revoke::revoke_grant(&mut tx, id, reason, now).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn grants_of(&self, did: &Did) -> Result<Vec<Grant>, StorageError> {
        let rows = sql(concat!(
            "SELECT ",
            grant_columns!(),
            " FROM grants g WHERE g.did = $1 AND g.revoked_at IS NULL
             ORDER BY g.created_at DESC, g.id DESC"
        ))
        .bind(did)
        .all(self.reader())
        .await?;
        Ok(readable(&rows, read_grant))
    }

    async fn revoke_client_grants(
        &self,
        client: &ClientId,
        did: &Did,
        reason: RevokeReason,
        now: Timestamp,
    ) -> Result<u64, StorageError> {
        revoke::revoke_client_grants(self, client, did, reason, now).await
    }
}

/// The grant that a row just read refers to.
pub(crate) async fn existing(conn: &mut DbConnection, id: RowId) -> Result<Grant, StorageError> {
    let row = sql(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants g WHERE g.id = $1"
    ))
    .bind(&id)
    .first(conn)
    .await?;
    match row {
        Some(row) => read_grant(&row),
        None => Err(StorageError::Inconsistent {
            table: "grants",
            row: id.to_string(),
            what: "missing".to_owned(),
        }),
    }
}

pub(crate) fn read_grant(row: &Row) -> Result<Grant, StorageError> {
    let fields = Fields::of("grants", "id", row)?;
    let revoked = match (fields.get("revoked_at")?, fields.get("revoke_reason")?) {
        (Some(at), Some(reason)) => Some(Revoked { at, reason }),
        (None, None) => None,
        _ => return Err(fields.inconsistent("the end of a grant and its reason come together")),
    };
    let scope: ScopeSet = fields.get("scope")?;
    let asked: Option<ScopeSet> = fields.get("asked")?;
    Ok(Grant {
        id: fields.get("id")?,
        client_id: fields.get("client_id")?,
        did: fields.get("did")?,
        asked: asked.unwrap_or_else(|| scope.clone()),
        scope,
        upstream_session: fields.get("upstream_session")?,
        dpop_jkt: fields.get("dpop_jkt")?,
        auth_time: fields.get("authenticated_at")?,
        created_at: fields.get("created_at")?,
        revoked,
    })
}
