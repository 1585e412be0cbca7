//! Developer tokens and their orders.
//!
//! Of a token, its grant says whether it is live; whoever ends one ends the grant. The order of locks is
//! that of `ending`.

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::audit::AuditEvent;
use aip_storage::client::{Client, ClientAuthMethod, ClientId, ClientSettings};
use aip_storage::developer_token::{
    DeveloperToken, DeveloperTokenOrder, DeveloperTokenOrigin, DeveloperTokens,
    MAX_DEVELOPER_TOKENS, MakeDeveloperToken, NewDeveloperToken,
};
use aip_storage::grant::{Grant, RevokeReason};
use aip_storage::upstream::UpstreamSession;
use async_trait::async_trait;

use super::audit::insert_event;
use super::client::insert_client;
use super::revoke::revoke_grant;
use super::session_row::insert_session;
use super::sql::{Fields, Row, readable, sql, unavailable};
use super::{DbConnection, Store};

const ORDERS: &str = "developer_token_orders";

#[async_trait]
impl DeveloperTokens for Store {
    async fn make_developer_token(
        &self,
        token: &NewDeveloperToken,
        session: &UpstreamSession,
        events: &[AuditEvent],
    ) -> Result<MakeDeveloperToken, StorageError> {
        let (grant, now) = (&token.grant, token.grant.created_at);
        let mut tx = self.begin().await?;
        // Grants refer to their client: this one is there from the first token on.
        insert_client(&mut *tx, &their_client(now)).await?;
        // The account's row is the lock: two callers at once must not both insert.
        sql(concat!(
            "SELECT did FROM accounts WHERE did = $1",
            for_update!()
        ))
        .bind(&grant.subject)
        .all(&mut *tx)
        .await?;
        let access = match &token.origin {
            DeveloperTokenOrigin::New(access) => Some(*access),
            DeveloperTokenOrigin::Order(id) => {
                spend_order(&mut tx, *id, &grant.subject, now).await?
            }
        };
        // From here on, what was changed above stays as it was unless the transaction is committed.
        let Some(access) = access else {
            return Ok(MakeDeveloperToken::OrderGone);
        };
        let live = sql(
            "SELECT d.grant_id FROM developer_tokens d JOIN grants g ON g.id = d.grant_id
             WHERE d.did = $1 AND d.expires_at > $2 AND g.revoked_at IS NULL LIMIT $3",
        )
        .bind((&grant.subject, &now, &MAX_DEVELOPER_TOKENS))
        .all(&mut *tx)
        .await?;
        if live.len() >= MAX_DEVELOPER_TOKENS as usize {
            return Ok(MakeDeveloperToken::Full);
        }
        insert_session(session).execute(&mut *tx).await?;
        insert_grant(&mut tx, grant).await?;
        sql(
            "INSERT INTO developer_tokens (grant_id, did, name, expires_at)
             VALUES ($1, $2, $3, $4)",
        )
        .bind((&grant.id, &grant.subject, &token.name, &token.expires_at))
        .execute(&mut *tx)
        .await?;
        sql(
            "INSERT INTO access_tokens (hash, grant_id, client_id, issued_at, expires_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&access)
        .bind(&grant.id)
        .bind(&grant.client_id)
        .bind(&now)
        .bind(&token.expires_at)
        .execute(&mut *tx)
        .await?;
        for event in events {
            insert_event(&mut *tx, event).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(MakeDeveloperToken::Made)
    }

    async fn developer_tokens(
        &self,
        account: Option<&Did>,
        after: Option<RowId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DeveloperToken>, StorageError> {
        let rows = sql(
            "SELECT d.grant_id AS id, d.did, d.name, d.expires_at, d.last_used_at, g.scope, g.created_at
             FROM developer_tokens d JOIN grants g ON g.id = d.grant_id
             WHERE d.expires_at > $1 AND g.revoked_at IS NULL
                 AND (CAST($2 AS TEXT) IS NULL OR d.did = $2)
                 AND (CAST($3 AS TEXT) IS NULL OR d.grant_id > $3)
             ORDER BY d.grant_id LIMIT $4",
        )
        .bind((&now, &account.cloned(), &after, &limit))
        .all(self.reader())
        .await?;
        Ok(readable(&rows, read_token))
    }

    async fn revoke_developer_token(
        &self,
        id: RowId,
        account: Option<&Did>,
        reason: RevokeReason,
        now: Timestamp,
        event: AuditEvent,
    ) -> Result<Option<Did>, StorageError> {
        let mut tx = self.begin().await?;
        let found = sql("SELECT grant_id AS id, did FROM developer_tokens
             WHERE grant_id = $1 AND (CAST($2 AS TEXT) IS NULL OR did = $2)")
        .bind((&id, &account.cloned()))
        .one(&mut *tx, |row| {
            Fields::of("developer_tokens", "id", row)?.get::<Did>("did")
        })
        .await?;
        let Some(owner) = found else { return Ok(None) };
        let ended = revoke_grant(&mut tx, id, reason, now).await?;
        if ended {
            insert_event(&mut *tx, &event.of_account(&owner)).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(ended.then_some(owner))
    }

    async fn note_developer_token_use(
        &self,
        id: RowId,
        hour: Timestamp,
    ) -> Result<(), StorageError> {
        sql("UPDATE developer_tokens SET last_used_at = $2
             WHERE grant_id = $1 AND (last_used_at IS NULL OR last_used_at < $2)")
        .bind((&id, &hour))
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn put_developer_token_order(
        &self,
        order: &DeveloperTokenOrder,
    ) -> Result<(), StorageError> {
        sql("INSERT INTO developer_token_orders
                 (id, link, did, name, scope, life, access, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(&order.id)
        .bind(&order.link)
        .bind(&order.account)
        .bind(&order.name)
        .bind(&order.scope)
        .bind(&order.life)
        .bind(&order.access)
        .bind(&order.expires_at)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn developer_token_order(
        &self,
        link: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<DeveloperTokenOrder>, StorageError> {
        sql("SELECT id, link, did, name, scope, life, access, expires_at
             FROM developer_token_orders WHERE link = $1 AND expires_at > $2")
        .bind((link, &now))
        .one(self.reader(), read_order)
        .await
    }

    async fn drop_developer_token_order(&self, id: RowId) -> Result<bool, StorageError> {
        let dropped = sql("DELETE FROM developer_token_orders WHERE id = $1")
            .bind(&id)
            .execute(self.writer())
            .await?;
        Ok(dropped == 1)
    }
}

/// The client of all developer tokens, as a row that grants refer to. Nobody reads it.
fn their_client(now: Timestamp) -> Client {
    Client {
        id: ClientId::of_developer_tokens(),
        settings: ClientSettings {
            name: "Developer tokens".to_owned(),
            auth_method: ClientAuthMethod::None,
            ..ClientSettings::default()
        },
        secret_hash: None,
        registered_itself: false,
        from_document: false,
        document_holds_until: None,
        created_at: now,
        updated_at: now,
    }
}

/// Spends an order of that account. The keyed hash of its token, if it was there.
async fn spend_order(
    conn: &mut DbConnection,
    id: RowId,
    account: &Did,
    now: Timestamp,
) -> Result<Option<TokenHash>, StorageError> {
    let spent = sql("DELETE FROM developer_token_orders
         WHERE id = $1 AND did = $2 AND expires_at > $3 RETURNING id, access");
    spent
        .bind((&id, account, &now))
        .one(conn, |row| Fields::of(ORDERS, "id", row)?.get("access"))
        .await
}

async fn insert_grant(conn: &mut DbConnection, grant: &Grant) -> Result<(), StorageError> {
    sql("INSERT INTO grants
             (id, client_id, did, actor, scope, asked, upstream_session, auth_time, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)")
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&grant.subject)
    .bind(&grant.actor)
    .bind(&grant.scope)
    .bind(&grant.asked)
    .bind(&grant.upstream_session)
    .bind(&grant.created_at)
    .execute(conn)
    .await?;
    Ok(())
}

fn read_token(row: &Row) -> Result<DeveloperToken, StorageError> {
    let fields = Fields::of("developer_tokens", "id", row)?;
    Ok(DeveloperToken {
        id: fields.get("id")?,
        account: fields.get("did")?,
        name: fields.get("name")?,
        scope: fields.get("scope")?,
        created_at: fields.get("created_at")?,
        expires_at: fields.get("expires_at")?,
        last_used_at: fields.get("last_used_at")?,
    })
}

fn read_order(row: &Row) -> Result<DeveloperTokenOrder, StorageError> {
    let fields = Fields::of(ORDERS, "id", row)?;
    Ok(DeveloperTokenOrder {
        id: fields.get("id")?,
        link: fields.get("link")?,
        account: fields.get("did")?,
        name: fields.get("name")?,
        scope: fields.get("scope")?,
        life: fields.get("life")?,
        access: fields.get("access")?,
        expires_at: fields.get("expires_at")?,
    })
}
