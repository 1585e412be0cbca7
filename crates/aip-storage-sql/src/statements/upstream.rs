//! Upstream sessions: stored, found, ended, revoked at their PDS. The keeper's verbs are in
//! `keeper`.

use std::time::Duration;

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::upstream::{
    DueRevocation, EndReason, JournalEntry, RefreshFailure, Refreshed, Settle, TakeLease,
    UpstreamSession, UpstreamSessions,
};
use async_trait::async_trait;

use super::session_row::{StateColumns, read_session, session_columns};
use super::sql::{Fields, sql, unavailable};
use super::{Conn, Store, keeper};

/// How many abandoned sessions are ended in one transaction.
const ABANDONED_BATCH: u32 = 100;

#[async_trait]
impl UpstreamSessions for Store {
    async fn create_upstream_session(&self, session: &UpstreamSession) -> Result<(), StorageError> {
        let state = StateColumns::of(&session.state);
        sql(concat!(
            "INSERT INTO upstream_sessions (",
            session_columns!(),
            ", revoke_attempts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                 $18, $19, $20, $21, $22, 0)"
        ))
        .bind(&session.id)
        .bind(&session.client_id)
        .bind(&session.did)
        .bind(&session.issuer)
        .bind(&session.pds)
        .bind(&session.upstream_client_id)
        .bind(&session.client_key_id)
        .bind(&session.dpop_key)
        .bind(&session.scope)
        .bind(&session.tokens.access)
        .bind(&session.tokens.refresh)
        .bind(&session.tokens.access_expires_at)
        .bind(&session.generation)
        .bind(&state.word.to_owned())
        .bind(&state.reason.map(str::to_owned))
        .bind(&state.lease.map(|lease| lease.owner.clone()))
        .bind(&state.lease.map(|lease| lease.until))
        .bind(&state.lease.map_or(0, |lease| lease.fence))
        .bind(&session.next_refresh_at)
        .bind(&session.failures)
        .bind(&session.refreshed_at)
        .bind(&session.created_at)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn upstream_session(&self, id: RowId) -> Result<Option<UpstreamSession>, StorageError> {
        let row = sql(concat!(
            "SELECT ",
            session_columns!(),
            " FROM upstream_sessions WHERE id = $1"
        ))
        .bind(&id)
        .first(self.reader())
        .await?;
        row.as_ref().map(read_session).transpose()
    }

    async fn usable_upstream_session(
        &self,
        client: &ClientId,
        did: &Did,
    ) -> Result<Option<UpstreamSession>, StorageError> {
        let row = sql(concat!(
            "SELECT ",
            session_columns!(),
            " FROM upstream_sessions
             WHERE client_id = $1 AND did = $2 AND state IN ('active', 'uncertain')
             ORDER BY created_at DESC, id DESC LIMIT 1"
        ))
        .bind(client)
        .bind(did)
        .first(self.reader())
        .await?;
        row.as_ref().map(read_session).transpose()
    }

    async fn lease(
        &self,
        id: RowId,
        generation: i64,
        owner: &str,
        length: Duration,
        now: Timestamp,
    ) -> Result<TakeLease, StorageError> {
        keeper::lease(self, id, generation, owner, length, now).await
    }

    async fn journal_sent(&self, entry: &JournalEntry) -> Result<Settle, StorageError> {
        keeper::journal_sent(self, entry).await
    }

    async fn journalled(&self, id: RowId) -> Result<Option<JournalEntry>, StorageError> {
        keeper::journalled(self, id).await
    }

    async fn store_refreshed(&self, refreshed: &Refreshed) -> Result<Settle, StorageError> {
        keeper::store_refreshed(self, refreshed).await
    }

    async fn settle_failure(
        &self,
        id: RowId,
        generation: i64,
        fence: i64,
        failure: &RefreshFailure,
        now: Timestamp,
    ) -> Result<Settle, StorageError> {
        keeper::settle_failure(self, id, generation, fence, failure, now).await
    }

    async fn due_sessions(&self, now: Timestamp, limit: u32) -> Result<Vec<RowId>, StorageError> {
        let rows = sql(concat!(
            "SELECT id FROM upstream_sessions
             WHERE state IN ('active', 'uncertain') AND next_refresh_at <= $1
                 AND (lease_until IS NULL OR lease_until < ",
            database_now!("$1"),
            ") ORDER BY next_refresh_at, id LIMIT $2"
        ))
        .bind(&now)
        .bind(&limit)
        .all(self.reader())
        .await?;
        rows.iter()
            .map(|row| Fields::of("upstream_sessions", "id", row)?.get("id"))
            .collect()
    }

    async fn end_unused_session(
        &self,
        id: RowId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let ended = end_unused_session(&mut tx, id, reason, now).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(ended)
    }

    async fn end_abandoned_sessions(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StorageError> {
        let mut ended = 0;
        loop {
            // Looked for outside the transaction, so that nobody waits meanwhile; each is judged
            // again, under its lock, before it is ended.
            let rows = sql("SELECT s.id FROM upstream_sessions s
                 WHERE s.state <> 'ended' AND s.created_at < $1
                     AND NOT EXISTS (SELECT 1 FROM grants g
                         WHERE g.upstream_session = s.id AND g.revoked_at IS NULL)
                 ORDER BY s.created_at, s.id LIMIT $2")
            .bind(&before)
            .bind(&ABANDONED_BATCH)
            .all(self.reader())
            .await?;
            if rows.is_empty() {
                return Ok(ended);
            }
            let mut ended_now = 0;
            let mut tx = self.begin().await?;
            for row in &rows {
                let id = Fields::of("upstream_sessions", "id", row)?.get("id")?;
                ended_now +=
                    u64::from(end_unused_session(&mut tx, id, EndReason::Abandoned, now).await?);
            }
            tx.commit().await.map_err(unavailable)?;
            ended += ended_now;
            // A full batch of which none could be ended would only come again.
            if ended_now == 0 {
                return Ok(ended);
            }
        }
    }

    async fn claim_revocations(
        &self,
        now: Timestamp,
        retry_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueRevocation>, StorageError> {
        let rows = sql(concat!(
            "UPDATE upstream_sessions SET revoke_due_at = $2, revoke_attempts = revoke_attempts + 1
             WHERE revoke_due_at <= $1 AND id IN (
                 SELECT id FROM upstream_sessions WHERE revoke_due_at <= $1
                 ORDER BY revoke_due_at, id LIMIT $3",
            skip_locked!(),
            ") RETURNING revoke_attempts, ",
            session_columns!()
        ))
        .bind(&now)
        .bind(&retry_at)
        .bind(&limit)
        .all(self.writer())
        .await?;
        rows.iter()
            .map(|row| {
                let attempts: u32 =
                    Fields::of("upstream_sessions", "id", row)?.get("revoke_attempts")?;
                // The count includes this claim; the caller is told of the tries before it.
                Ok(DueRevocation {
                    session: read_session(row)?,
                    attempts: attempts.saturating_sub(1),
                })
            })
            .collect()
    }

    async fn revocation_done(&self, id: RowId) -> Result<(), StorageError> {
        sql("UPDATE upstream_sessions
             SET revoke_due_at = NULL, access_token = '', refresh_token = NULL, dpop_key = ''
             WHERE id = $1 AND state = 'ended'")
        .bind(&id)
        .execute(self.writer())
        .await?;
        Ok(())
    }
}

/// Locks the session's row until the transaction ends. Whether it can serve a grant.
pub(super) async fn lock_usable_session(conn: &mut Conn, id: RowId) -> Result<bool, StorageError> {
    let row = sql(concat!(
        "SELECT id FROM upstream_sessions WHERE id = $1 AND state IN ('active', 'uncertain')",
        for_update!()
    ))
    .bind(&id)
    .first(conn)
    .await?;
    Ok(row.is_some())
}

/// Ends a session, whoever uses it, and makes it due for revocation. Whether it was live.
pub(super) async fn end_session(
    conn: &mut Conn,
    id: RowId,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let ended = sql("UPDATE upstream_sessions SET
             state = 'ended', reason = $2, ended_at = $3, revoke_due_at = $3,
             lease_owner = NULL, lease_until = NULL
         WHERE id = $1 AND state <> 'ended'")
    .bind(&id)
    .bind(&reason)
    .bind(&now)
    .execute(conn)
    .await?;
    Ok(ended == 1)
}

/// Ends a session that no live grant uses. Whether it did.
pub(super) async fn end_unused_session(
    conn: &mut Conn,
    id: RowId,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    // Two statements, because the second must see the grants that were stored while the first
    // waited for the lock (`approve` holds it while it stores one).
    sql(concat!(
        "SELECT id FROM upstream_sessions WHERE id = $1",
        for_update!()
    ))
    .bind(&id)
    .all(&mut *conn)
    .await?;
    let used =
        sql("SELECT id FROM grants WHERE upstream_session = $1 AND revoked_at IS NULL LIMIT 1")
            .bind(&id)
            .first(&mut *conn)
            .await?;
    if used.is_some() {
        Ok(false)
    } else {
        end_session(conn, id, reason, now).await
    }
}
