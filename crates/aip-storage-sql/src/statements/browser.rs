//! Browser sessions and the consents given in them.

use aip_atproto::{Did, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::browser::{
    BrowserAccount, BrowserSession, BrowserSignIn, Browsers, COOKIE_OVERLAP,
};
use aip_storage::client::ClientId;
use aip_storage::logout::SignedOut;
use async_trait::async_trait;

use super::logout::{hold_sign_ins, note_sign_out};
use super::request::delete_requests;
use super::sql::{Fields, Row, sql, unavailable};
use super::{DbConnection, Driver, Store};
use crate::sql::Executor;

#[async_trait]
impl Browsers for Store {
    async fn create_browser_session(&self, session: &BrowserSession) -> Result<bool, StorageError> {
        if session.accounts.is_empty() {
            return insert_session(self.writer(), session).await;
        }
        let mut tx = self.begin().await?;
        if !insert_session(&mut *tx, session).await? {
            return Ok(false);
        }
        for account in &session.accounts {
            put_account(&mut tx, session.id, account).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(true)
    }

    async fn browser_session(
        &self,
        token: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<BrowserSession>, StorageError> {
        let rows = sql(
            "SELECT b.id, b.token, b.created_at, b.expires_at, a.did, a.auth_time,
                 a.authenticated_at
             FROM browser_sessions b LEFT JOIN browser_accounts a ON a.browser_id = b.id
                 AND (b.token = $1 OR b.added_did IS NULL OR a.did <> b.added_did)
             WHERE (b.token = $1 OR (b.previous_token = $1 AND b.rotated_at > $3))
                 AND b.expires_at > $2
             ORDER BY a.auth_time DESC, a.did",
        )
        .bind((token, &now, &(now - COOKIE_OVERLAP)))
        .all(self.reader())
        .await?;
        read_session(&rows)
    }

    async fn sign_in_browser(
        &self,
        id: RowId,
        presented: &TokenHash,
        next: &TokenHash,
        account: &BrowserAccount,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<BrowserSignIn, StorageError> {
        let mut tx = self.begin().await?;
        let replaced = sql("UPDATE browser_sessions SET
                 previous_token = CASE WHEN token = $3 THEN NULL ELSE token END,
                 token = $3, expires_at = $4, rotated_at = $5,
                 added_did = (SELECT $6 WHERE NOT EXISTS (SELECT 1 FROM browser_accounts
                     WHERE browser_id = $1 AND did = $6))
             WHERE id = $1 AND token = $2")
        .bind((&id, presented, next, &expires_at, &now, &account.did))
        .execute(&mut *tx)
        .await?;
        if replaced == 0 {
            let session = sql("SELECT 1 FROM browser_sessions WHERE id = $1").bind(&id);
            return Ok(match session.first(&mut *tx).await? {
                Some(_) => BrowserSignIn::CookieReplaced,
                None => BrowserSignIn::SessionEnded,
            });
        }
        put_account(&mut tx, id, account).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(BrowserSignIn::Added)
    }

    async fn sign_out_account(
        &self,
        id: RowId,
        did: &Did,
        now: Timestamp,
    ) -> Result<SignedOut, StorageError> {
        let mut tx = self.begin().await?;
        hold_sign_ins(&mut tx, id, Some(did)).await?;
        // Of several requests one deletes the row, and notes what ends with it.
        let signed_out = sql("DELETE FROM browser_accounts WHERE browser_id = $1 AND did = $2")
            .bind((&id, did))
            .execute(&mut *tx)
            .await?;
        sql("DELETE FROM consents WHERE browser_id = $1 AND did = $2")
            .bind((&id, did))
            .execute(&mut *tx)
            .await?;
        let ended = match signed_out {
            0 => SignedOut::default(),
            _ => note_sign_out(&mut tx, id, Some(did), now).await?,
        };
        tx.commit().await.map_err(unavailable)?;
        Ok(ended)
    }

    async fn delete_browser_session(
        &self,
        id: RowId,
        now: Timestamp,
    ) -> Result<SignedOut, StorageError> {
        let mut tx = self.begin().await?;
        // As whoever allows one of them something does, before anything else is held (`approve`).
        sql(delete_requests!("browser_id = $1"))
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        hold_sign_ins(&mut tx, id, None).await?;
        // Accounts, consents, later requests and flows go with it (ON DELETE CASCADE). Of several requests
        // one deletes the row, and notes what ends with it.
        let deleted = sql("DELETE FROM browser_sessions WHERE id = $1")
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        let ended = match deleted {
            0 => SignedOut::default(),
            _ => note_sign_out(&mut tx, id, None, now).await?,
        };
        tx.commit().await.map_err(unavailable)?;
        Ok(ended)
    }

    async fn consent(
        &self,
        browser: RowId,
        client: &ClientId,
        did: &Did,
    ) -> Result<Option<ScopeSet>, StorageError> {
        let read = |row: &Row| Fields::of("consents", "browser_id", row)?.get("scope");
        sql("SELECT browser_id, scope FROM consents
             WHERE browser_id = $1 AND client_id = $2 AND did = $3")
        .bind((&browser, client, did))
        .one(self.reader(), read)
        .await
    }
}

async fn insert_session(
    on: impl Executor<Driver>,
    session: &BrowserSession,
) -> Result<bool, StorageError> {
    let created = sql(
        "INSERT INTO browser_sessions (id, token, created_at, expires_at)
         VALUES ($1, $2, $3, $4) ON CONFLICT (token) DO NOTHING",
    )
    .bind(&session.id)
    .bind(&session.token)
    .bind(&session.created_at)
    .bind(&session.expires_at)
    .execute(on)
    .await?;
    Ok(created == 1)
}

async fn put_account(
    conn: &mut DbConnection,
    browser: RowId,
    account: &BrowserAccount,
) -> Result<(), StorageError> {
    sql(
        "INSERT INTO browser_accounts (browser_id, did, auth_time, authenticated_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (browser_id, did) DO UPDATE SET
             auth_time = excluded.auth_time,
             authenticated_at =
                 COALESCE(excluded.authenticated_at, browser_accounts.authenticated_at)",
    )
    .bind(&browser)
    .bind(&account.did)
    .bind(&account.signed_in_at)
    .bind(&account.auth_time)
    .execute(conn)
    .await?;
    Ok(())
}

/// One session from its rows: one for each account, or a single one without an account.
fn read_session(rows: &[Row]) -> Result<Option<BrowserSession>, StorageError> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let mut accounts = Vec::new();
    for row in rows {
        let fields = Fields::of("browser_sessions", "id", row)?;
        if let Some(did) = fields.get("did")? {
            accounts.push(BrowserAccount {
                did,
                signed_in_at: fields.get("auth_time")?,
                auth_time: fields.get("authenticated_at")?,
            });
        }
    }
    let fields = Fields::of("browser_sessions", "id", first)?;
    Ok(Some(BrowserSession {
        id: fields.get("id")?,
        token: fields.get("token")?,
        created_at: fields.get("created_at")?,
        expires_at: fields.get("expires_at")?,
        accounts,
    }))
}
