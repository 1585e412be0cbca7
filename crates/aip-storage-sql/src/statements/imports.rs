//! Sessions of another server: held, and released.

use aip_base::{RowId, Timestamp};
use aip_keys::{Sealed, TokenHash};
use aip_storage::StorageError;
use aip_storage::imports::{
    HeldGrant, HeldSession, HeldToken, HeldTokenKind, HoldOutcome, ImportState, Imports,
};
use aip_storage::upstream::{Credential, SessionKind, StateName};
use async_trait::async_trait;

use super::sql::{Fields, Row, sql, unavailable};
use super::{DbConnection, Store};

/// How many held sessions are forgotten in one statement.
const DROP_BATCH: u32 = 500;

#[async_trait]
impl Imports for Store {
    async fn known_sessions(
        &self,
        sessions: &[(RowId, TokenHash)],
        run: Timestamp,
    ) -> Result<Vec<ImportState>, StorageError> {
        let mut tx = self.begin().await?;
        let mut all = Vec::with_capacity(sessions.len());
        for (id, content) in sessions {
            all.push(known(&mut tx, *id, content, run).await?);
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(all)
    }

    async fn hold_sessions(
        &self,
        sessions: &[HeldSession],
        run: Timestamp,
    ) -> Result<Vec<HoldOutcome>, StorageError> {
        let mut tx = self.begin().await?;
        let mut held = Vec::with_capacity(sessions.len());
        for session in sessions {
            held.push(hold(&mut tx, session, run).await?);
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(held)
    }

    async fn drop_unseen_sessions(&self, run: Timestamp) -> Result<u64, StorageError> {
        let mut dropped = 0;
        loop {
            let now = sql("DELETE FROM imported_sessions WHERE id IN
                 (SELECT id FROM imported_sessions WHERE seen_at < $1 LIMIT $2)")
            .bind((&run, &DROP_BATCH))
            .execute(self.writer())
            .await?;
            dropped += now;
            if now < u64::from(DROP_BATCH) {
                return Ok(dropped);
            }
        }
    }

    async fn forget_held_sessions(&self, kid: &str) -> Result<u64, StorageError> {
        let (kid, mut forgotten) = (kid.to_owned(), 0);
        loop {
            let now = sql("DELETE FROM imported_sessions WHERE id IN
                 (SELECT id FROM imported_sessions WHERE client_key_id = $1 LIMIT $2)")
            .bind((&kid, &DROP_BATCH))
            .execute(self.writer())
            .await?;
            forgotten += now;
            if now < u64::from(DROP_BATCH) {
                return Ok(forgotten);
            }
        }
    }

    async fn count_held_sessions(&self) -> Result<u64, StorageError> {
        let read = |row: &Row| Fields::of("imported_sessions", "id", row)?.get("number");
        let number = sql("SELECT 'all' AS id, COUNT(*) AS number FROM imported_sessions")
            .one(self.reader(), read)
            .await?;
        Ok(number.unwrap_or(0))
    }

    async fn begin_release(&self, now: Timestamp) -> Result<Timestamp, StorageError> {
        sql(
            "INSERT INTO imports (name, released_at) VALUES ('aip-v2', $1)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&now)
        .execute(self.writer())
        .await?;
        Ok(self.released_at().await?.unwrap_or(now))
    }

    async fn released_at(&self) -> Result<Option<Timestamp>, StorageError> {
        let read = |row: &Row| Fields::of("imports", "name", row)?.get("released_at");
        sql("SELECT name, released_at FROM imports WHERE name = 'aip-v2'")
            .one(self.reader(), read)
            .await
    }

    async fn release_sessions(&self, batch: u32) -> Result<u64, StorageError> {
        let mut tx = self.begin().await?;
        // That of an app password is ended as unused while its account has no grant.
        for kind in [SessionKind::OAuth, SessionKind::AppPassword] {
            let last = sql("SELECT MAX(id) AS id FROM
                     (SELECT id FROM imported_sessions WHERE kind = $1 ORDER BY id LIMIT $2)
                     AS next_ones
                 HAVING COUNT(*) > 0")
            .bind((&kind, &batch))
            .first(&mut *tx)
            .await?;
            if let Some(last) = last {
                let last: RowId = Fields::of("imported_sessions", "id", &last)?.get("id")?;
                let released = release(&mut tx, kind, last).await?;
                tx.commit().await.map_err(unavailable)?;
                return Ok(released);
            }
        }
        Ok(0)
    }
}

async fn known(
    conn: &mut DbConnection,
    id: RowId,
    content: &TokenHash,
    run: Timestamp,
) -> Result<ImportState, StorageError> {
    let unchanged = sql("UPDATE imported_sessions SET seen_at = $3 WHERE id = $1 AND content = $2")
        .bind((&id, content, &run))
        .execute(&mut *conn)
        .await?;
    if unchanged == 1 {
        return Ok(ImportState::Unchanged);
    }
    Ok(if is_released(conn, id).await? {
        ImportState::Released
    } else {
        ImportState::Changed
    })
}

async fn is_released(conn: &mut DbConnection, id: RowId) -> Result<bool, StorageError> {
    let own = sql("SELECT id FROM upstream_sessions WHERE id = $1")
        .bind(&id)
        .first(conn)
        .await?;
    Ok(own.is_some())
}

async fn hold(
    conn: &mut DbConnection,
    held: &HeldSession,
    run: Timestamp,
) -> Result<HoldOutcome, StorageError> {
    let id = &held.session.id;
    if is_released(&mut *conn, *id).await? {
        return Ok(HoldOutcome::Released);
    }
    // This run may have been slower than its lead lasts.
    let later = sql("SELECT id FROM imported_sessions WHERE id = $1 AND seen_at > $2")
        .bind((id, &run))
        .first(&mut *conn)
        .await?;
    if later.is_some() {
        return Ok(HoldOutcome::Held);
    }
    sql("DELETE FROM imported_sessions WHERE id = $1")
        .bind(id)
        .execute(&mut *conn)
        .await?;
    if insert_held(&mut *conn, held, run).await? == 0 {
        return Ok(HoldOutcome::NoClient);
    }
    for token in held.grant.iter().flat_map(|grant| &grant.tokens) {
        insert_token(&mut *conn, *id, token).await?;
    }
    Ok(HoldOutcome::Held)
}

async fn insert_held(
    conn: &mut DbConnection,
    held: &HeldSession,
    run: Timestamp,
) -> Result<u64, StorageError> {
    let session = &held.session;
    let (oauth, password): (_, Option<Sealed>) = match &session.credential {
        Credential::OAuth(oauth) => (Some(oauth), None),
        Credential::AppPassword(password) => (None, Some(password.clone())),
    };
    let grant: Option<&HeldGrant> = held.grant.as_ref();
    sql("INSERT INTO imported_sessions
             (id, client_id, did, kind, issuer, pds, upstream_client_id, client_key_id, dpop_key,
              password, scope, access_token, refresh_token, access_expires_at, generation, state,
              refreshed_at, created_at, grant_scope, grant_dpop_jkt, grant_created_at, content,
              seen_at)
         SELECT $1, clients.id, $3, $4, COALESCE($5, ''), $6, COALESCE($7, ''), $8,
             COALESCE($9, ''), $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23
         FROM clients WHERE clients.id = $2")
    .bind(&session.id)
    .bind(&session.client_id)
    .bind(&session.did)
    .bind(&session.credential.kind())
    .bind(&oauth.map(|it| it.issuer.clone()))
    .bind(&session.pds)
    .bind(&oauth.map(|it| it.upstream_client_id.clone()))
    .bind(&oauth.and_then(|it| it.client_key_id.clone()))
    .bind(&oauth.map(|it| it.dpop_key.clone()))
    .bind(&password)
    .bind(&session.scope)
    .bind(&session.tokens.access)
    .bind(&session.tokens.refresh)
    .bind(&session.tokens.access_expires_at)
    .bind(&session.generation)
    .bind(&session.state.name())
    .bind(&session.refreshed_at)
    .bind(&session.created_at)
    .bind(&grant.map(|it| it.scope.clone()))
    .bind(&grant.and_then(|it| it.dpop_jkt.clone()))
    .bind(&grant.map(|it| it.created_at))
    .bind(&held.content)
    .bind(&run)
    .execute(conn)
    .await
}

async fn insert_token(
    conn: &mut DbConnection,
    session: RowId,
    token: &HeldToken,
) -> Result<(), StorageError> {
    let (is_refresh, scope, dpop_jkt) = match &token.kind {
        HeldTokenKind::Access { scope, dpop_jkt } => (false, scope.clone(), dpop_jkt.clone()),
        HeldTokenKind::Refresh => (true, None, None),
    };
    sql("INSERT INTO imported_tokens
             (hash, session_id, is_refresh, scope, dpop_jkt, issued_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (hash) DO UPDATE SET
             session_id = excluded.session_id, is_refresh = excluded.is_refresh,
             scope = excluded.scope, dpop_jkt = excluded.dpop_jkt,
             issued_at = excluded.issued_at, expires_at = excluded.expires_at")
    .bind((&token.hash, &session, &is_refresh))
    .bind((&scope, &dpop_jkt))
    .bind((&token.issued_at, &token.expires_at))
    .execute(conn)
    .await?;
    Ok(())
}

/// Releases the held sessions of that kind up to the one of id `last`. What is there already stays as it
/// is.
async fn release(
    conn: &mut DbConnection,
    kind: SessionKind,
    last: RowId,
) -> Result<u64, StorageError> {
    // The handle is found out when the session is refreshed, which proves the account.
    sql("INSERT INTO accounts (did, handle, pds, proven_at)
         SELECT did, NULL, pds, refreshed_at FROM imported_sessions WHERE id <= $1 AND kind = $2
         ON CONFLICT (did) DO NOTHING")
    .bind((&last, &kind))
    .execute(&mut *conn)
    .await?;
    // Due when its access token has expired: what nobody has used for long is refreshed first.
    let released = sql("INSERT INTO upstream_sessions
             (id, client_id, did, issuer, pds, upstream_client_id, client_key_id, dpop_key, scope,
              access_token, refresh_token, access_expires_at, generation, state, fence,
              next_refresh_at, failures, refreshed_at, revoke_attempts, created_at, kind, password,
              rejections)
         SELECT i.id, i.client_id, i.did, i.issuer, i.pds, i.upstream_client_id, i.client_key_id,
             i.dpop_key, i.scope, i.access_token, i.refresh_token, i.access_expires_at,
             i.generation, i.state, 0, i.access_expires_at, 0, i.refreshed_at, 0, i.created_at,
             i.kind, i.password, 0
         FROM imported_sessions i
         WHERE i.id <= $1 AND i.kind = $2
             AND (i.kind <> $3 OR NOT EXISTS (SELECT 1 FROM upstream_sessions s
                 WHERE s.client_id = i.client_id AND s.did = i.did AND s.kind = $3
                     AND s.state <> $4))
         ON CONFLICT (id) DO NOTHING")
    .bind((&last, &kind, &SessionKind::AppPassword, &StateName::Ended))
    .execute(&mut *conn)
    .await?;
    sql("INSERT INTO grants
             (id, client_id, did, scope, upstream_session, dpop_jkt, auth_time, created_at)
         SELECT i.id, i.client_id, i.did, i.grant_scope, i.id, i.grant_dpop_jkt, i.grant_created_at,
             i.grant_created_at
         FROM imported_sessions i
         WHERE i.id <= $1 AND i.kind = $2 AND i.grant_scope IS NOT NULL
         ON CONFLICT (id) DO NOTHING")
    .bind((&last, &kind))
    .execute(&mut *conn)
    .await?;
    sql("INSERT INTO access_tokens
             (hash, grant_id, client_id, scope, issued_at, expires_at, dpop_jkt)
         SELECT t.hash, i.id, i.client_id, t.scope, t.issued_at, t.expires_at, t.dpop_jkt
         FROM imported_tokens t JOIN imported_sessions i ON i.id = t.session_id
         WHERE i.id <= $1 AND i.kind = $2 AND NOT t.is_refresh
         ON CONFLICT (hash) DO NOTHING")
    .bind((&last, &kind))
    .execute(&mut *conn)
    .await?;
    sql(
        "INSERT INTO refresh_tokens (hash, grant_id, client_id, issued_at, expires_at)
         SELECT t.hash, i.id, i.client_id, t.issued_at, t.expires_at
         FROM imported_tokens t JOIN imported_sessions i ON i.id = t.session_id
         WHERE i.id <= $1 AND i.kind = $2 AND t.is_refresh
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind((&last, &kind))
    .execute(&mut *conn)
    .await?;
    sql("DELETE FROM imported_sessions WHERE id <= $1 AND kind = $2")
        .bind((&last, &kind))
        .execute(&mut *conn)
        .await?;
    Ok(released)
}
