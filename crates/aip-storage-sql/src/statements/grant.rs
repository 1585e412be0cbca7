//! Grants and the look-ups of their tokens. Every look-up of a token joins its grant: a revoked
//! grant is the end of all its tokens, on every replica at once.

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::audit::AuditEvent;
use aip_storage::client::ClientId;
use aip_storage::grant::{AccessToken, Approval, Approve, Grant, Grants, RevokeReason};
use aip_storage::resource_uri::ResourceList;
use aip_storage::session_read::TokenForCall;
use aip_storage::session_status::TokenWithSession;
use aip_storage::upstream::SessionKind;
use async_trait::async_trait;

use super::audit::insert_event;
use super::ending::lock_sessions;
use super::grant_row::{grant_columns, read_grant};
use super::revoke::{revoke_grant, revoke_grants, sessions_of};
use super::session_row::{
    Joined, joined_session_columns, read_joined_session, read_status, status_columns,
};
use super::sql::{Fields, Row, ids, readable, sql, unavailable};
use super::{Store, approve};

/// The columns of an access token, under the alias `t`, and of its grant, under `g`.
macro_rules! access_token_columns {
    () => {
        concat!(
            "t.scope AS narrowed_scope, t.audience AS narrowed_audience, t.issued_at, t.expires_at,
             COALESCE(t.dpop_jkt, g.dpop_jkt) AS token_jkt, ",
            grant_columns!()
        )
    };
}

#[async_trait]
impl Grants for Store {
    async fn approve(&self, approval: &Approval) -> Result<Approve, StorageError> {
        approve::approve(self, approval).await
    }

    async fn access_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, StorageError> {
        sql(concat!(
            "SELECT ",
            access_token_columns!(),
            " FROM access_tokens t JOIN grants g ON g.id = t.grant_id
             WHERE t.hash = $1 AND t.expires_at > $2 AND g.revoked_at IS NULL"
        ))
        .bind((hash, &now))
        .one(self.reader(), read_access_token)
        .await
        .map(Option::flatten)
    }

    async fn access_token_with_session(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<TokenWithSession>, StorageError> {
        let read = |row: &Row| {
            let Some(token) = read_access_token(row)? else {
                return Ok(None);
            };
            Ok(Some(TokenWithSession {
                token,
                session: read_status(row)?,
                handle: Fields::of("accounts", "did", row)?.get("handle")?,
            }))
        };
        sql(concat!(
            "SELECT a.handle, ",
            access_token_columns!(),
            ", ",
            status_columns!(),
            " FROM access_tokens t JOIN grants g ON g.id = t.grant_id
             LEFT JOIN upstream_sessions s ON s.id = g.upstream_session
             LEFT JOIN accounts a ON a.did = g.did
             WHERE t.hash = $1 AND t.expires_at > $2 AND g.revoked_at IS NULL"
        ))
        .bind((hash, &now))
        .one(self.reader(), read)
        .await
        .map(Option::flatten)
    }

    async fn access_token_for_call(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<TokenForCall>, StorageError> {
        let read = |row: &Row| {
            let Some(token) = read_access_token(row)? else {
                return Ok(None);
            };
            Ok(Some(TokenForCall {
                token,
                session: read_joined_session(row, Joined::Own)?,
                app_password: read_joined_session(row, Joined::AppPassword)?,
                default_atproto_proxy: Fields::of("clients", "client_id", row)?
                    .get("default_atproto_proxy")?,
            }))
        };
        sql(concat!(
            "SELECT c.default_atproto_proxy, ",
            access_token_columns!(),
            ", ",
            joined_session_columns!("s"),
            ", ",
            joined_session_columns!("p"),
            // An app password gives no access longer than the session does that its person allowed.
            " FROM access_tokens t JOIN grants g ON g.id = t.grant_id
             LEFT JOIN upstream_sessions s ON s.id = g.upstream_session
             LEFT JOIN upstream_sessions p ON p.client_id = g.client_id AND p.did = g.did
                 AND p.kind = $3 AND p.state IN ('active', 'uncertain')
                 AND s.state IN ('active', 'uncertain')
                 AND g.delegation_id IS NULL AND g.client_id <> $4
             LEFT JOIN clients c ON c.id = g.client_id
             WHERE t.hash = $1 AND t.expires_at > $2 AND g.revoked_at IS NULL
             ORDER BY p.created_at DESC, p.id DESC LIMIT 1"
        ))
        .bind((hash, &now))
        .bind(&SessionKind::AppPassword)
        .bind(&ClientId::of_developer_tokens())
        .one(self.reader(), read)
        .await
        .map(Option::flatten)
    }

    async fn revoke_access_token(
        &self,
        hash: &TokenHash,
        client: &ClientId,
    ) -> Result<bool, StorageError> {
        let deleted = sql("DELETE FROM access_tokens WHERE hash = $1 AND client_id = $2")
            .bind((hash, client))
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
        revoke_grant(&mut tx, id, reason, now).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn grants_of(&self, subject: &Did) -> Result<Vec<Grant>, StorageError> {
        let rows = sql(concat!(
            "SELECT ",
            grant_columns!(),
            " FROM grants g WHERE g.did = $1 AND g.revoked_at IS NULL AND g.delegation_id IS NULL
                 AND g.client_id <> $2
             ORDER BY g.created_at DESC, g.id DESC"
        ))
        .bind((subject, &ClientId::of_developer_tokens()))
        .all(self.reader())
        .await?;
        Ok(readable(&rows, read_grant))
    }

    async fn revoke_client_grants(
        &self,
        client: &ClientId,
        subject: &Did,
        reason: RevokeReason,
        now: Timestamp,
        event: AuditEvent,
    ) -> Result<u64, StorageError> {
        let mut tx = self.begin().await?;
        let rows = sql("SELECT id, upstream_session FROM grants
             WHERE client_id = $1 AND did = $2 AND revoked_at IS NULL AND delegation_id IS NULL
             ORDER BY id")
        .bind((client, subject))
        .all(&mut *tx)
        .await?;
        lock_sessions(&mut tx, sessions_of(&rows)).await?;
        let ended = revoke_grants(&mut tx, ids("grants", &rows), reason, now).await?;
        sql("DELETE FROM consents WHERE client_id = $1 AND did = $2")
            .bind((client, subject))
            .execute(&mut *tx)
            .await?;
        if ended > 0 {
            insert_event(&mut *tx, &event).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(ended)
    }
}

/// `None`: all that it was for was taken from its grant.
fn read_access_token(row: &Row) -> Result<Option<AccessToken>, StorageError> {
    let grant = read_grant(row)?;
    let fields = Fields::of("grants", "id", row)?;
    let narrowed: Option<_> = fields.get("narrowed_scope")?;
    let Some(audience) = audience(fields.get("narrowed_audience")?, &grant.resources) else {
        return Ok(None);
    };
    Ok(Some(AccessToken {
        scope: narrowed.unwrap_or_else(|| grant.scope.clone()),
        audience,
        dpop_jkt: fields.get("token_jkt")?,
        issued_at: fields.get("issued_at")?,
        expires_at: fields.get("expires_at")?,
        grant,
    }))
}

/// For which resource servers a token is: those of its own as far as its grant is for them still, or all
/// of the grant. An empty list, which stands for AIP, is not what is left of others.
fn audience(narrowed: Option<ResourceList>, granted: &ResourceList) -> Option<ResourceList> {
    match narrowed {
        None => Some(granted.clone()),
        Some(narrowed) if granted.is_empty() => Some(narrowed),
        Some(narrowed) => narrowed.within(granted).if_any(),
    }
}
