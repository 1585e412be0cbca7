//! Upstream sessions: stored, found, ended, revoked at their PDS. The keeper's verbs are in
//! `keeper`.

use aip_atproto::{Did, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::{
    DueRevocation, EmailReading, EndReason, SessionCounts, SessionFilter, SessionKind,
    UpstreamSession, UpstreamSessions,
};
use async_trait::async_trait;

use super::Store;
use super::ending::{end_grants, end_session, end_unused_session, unused};
use super::session_row::{insert_session, read_session, session_columns};
use super::sql::{Fields, Row, ids, readable, sql, unavailable};

/// How many sessions of one client and account are compared with what is needed.
const MAX_COMPARED_SESSIONS: u32 = 500;

/// How many abandoned sessions are ended in one transaction.
const ABANDONED_BATCH: u32 = 100;

#[async_trait]
impl UpstreamSessions for Store {
    async fn create_upstream_session(&self, session: &UpstreamSession) -> Result<(), StorageError> {
        insert_session(session).execute(self.writer()).await?;
        Ok(())
    }

    async fn upstream_session(&self, id: RowId) -> Result<Option<UpstreamSession>, StorageError> {
        sql(concat!(
            "SELECT ",
            session_columns!(),
            " FROM upstream_sessions WHERE id = $1"
        ))
        .bind(&id)
        .one(self.reader(), read_session)
        .await
    }

    async fn usable_upstream_session(
        &self,
        kind: SessionKind,
        client: &ClientId,
        did: &Did,
    ) -> Result<Option<UpstreamSession>, StorageError> {
        sql(concat!(
            "SELECT ",
            session_columns!(),
            " FROM upstream_sessions
             WHERE client_id = $1 AND did = $2 AND kind = $3 AND state IN ('active', 'uncertain')
             ORDER BY created_at DESC, id DESC LIMIT 1"
        ))
        .bind((client, did, &kind))
        .one(self.reader(), read_session)
        .await
    }

    async fn fitting_upstream_session(
        &self,
        client: &ClientId,
        did: &Did,
        needed: &ScopeSet,
    ) -> Result<Option<UpstreamSession>, StorageError> {
        let newest = self
            .usable_upstream_session(SessionKind::OAuth, client, did)
            .await?;
        match newest {
            Some(newest) if !newest.scope.covers_all(needed) => {}
            fits_or_none => return Ok(fits_or_none),
        }
        let rows = sql("SELECT id, scope FROM upstream_sessions
             WHERE client_id = $1 AND did = $2 AND kind = $3 AND state IN ('active', 'uncertain')
             ORDER BY created_at DESC, id DESC LIMIT $4")
        .bind((client, did, &SessionKind::OAuth, &MAX_COMPARED_SESSIONS))
        .all(self.reader())
        .await?;
        let scopes = readable(&rows, |row| {
            let fields = Fields::of("upstream_sessions", "id", row)?;
            Ok((fields.get::<RowId>("id")?, fields.get::<ScopeSet>("scope")?))
        });
        let fits = scopes.iter().find(|(_, scope)| scope.covers_all(needed));
        match fits {
            Some((id, _)) => self.upstream_session(*id).await,
            None => Ok(None),
        }
    }

    async fn store_email(&self, id: RowId, reading: &EmailReading) -> Result<(), StorageError> {
        let email = reading.email.as_ref();
        sql("UPDATE upstream_sessions SET
                 email = $2, email_confirmed = $3, email_pds = $4, email_read_at = $5
             WHERE id = $1 AND (email_read_at IS NULL OR email_read_at <= $5)")
        .bind(&id)
        .bind(&email.map(|it| it.address.clone()))
        .bind(&email.map(|it| it.confirmed))
        .bind(&reading.pds)
        .bind(&reading.read_at)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn forget_email(&self, id: RowId) -> Result<(), StorageError> {
        sql("UPDATE upstream_sessions SET
                 email = NULL, email_confirmed = NULL, email_pds = NULL, email_read_at = NULL
             WHERE id = $1")
        .bind(&id)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn replace_app_password_session(
        &self,
        session: &UpstreamSession,
    ) -> Result<(), StorageError> {
        let mut tx = self.begin().await?;
        // The account's row is the lock: two callers at once must not both insert.
        sql(concat!(
            "SELECT did FROM accounts WHERE did = $1",
            for_update!()
        ))
        .bind(&session.did)
        .all(&mut *tx)
        .await?;
        let before = sql("SELECT id FROM upstream_sessions
             WHERE client_id = $1 AND did = $2 AND kind = $3 AND state <> 'ended' ORDER BY id")
        .bind(&session.client_id)
        .bind(&session.did)
        .bind(&SessionKind::AppPassword)
        .all(&mut *tx)
        .await?;
        for row in &before {
            let id = Fields::of("upstream_sessions", "id", row)?.get("id")?;
            end_session(&mut tx, id, EndReason::Replaced, session.created_at).await?;
        }
        insert_session(session).execute(&mut *tx).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn list_upstream_sessions(
        &self,
        filter: &SessionFilter,
        after: Option<RowId>,
        limit: u32,
    ) -> Result<Vec<Result<UpstreamSession, StorageError>>, StorageError> {
        // A filter that is not set is NULL, whose type an engine must be told.
        let rows = sql(concat!(
            "SELECT ",
            session_columns!(),
            " FROM upstream_sessions
             WHERE (CAST($1 AS TEXT) IS NULL OR id > $1)
                 AND (CAST($2 AS TEXT) IS NULL OR state = $2)
                 AND (CAST($3 AS TEXT) IS NULL OR did = $3)
                 AND (CAST($4 AS TEXT) IS NULL OR client_id = $4)
             ORDER BY id LIMIT $5"
        ))
        .bind(&after)
        .bind(&filter.state)
        .bind(&filter.did)
        .bind(&filter.client_id)
        .bind(&limit)
        .all(self.reader())
        .await?;
        Ok(rows.iter().map(read_session).collect())
    }

    async fn count_upstream_sessions(&self, now: Timestamp) -> Result<SessionCounts, StorageError> {
        let rows = sql(
            "SELECT kind, state, COUNT(*) AS number FROM upstream_sessions
             GROUP BY kind, state ORDER BY kind, state",
        )
        .all(self.reader())
        .await?;
        let counts = rows.iter().map(|row| {
            let fields = Fields::of("upstream_sessions", "state", row)?;
            Ok((
                fields.get("kind")?,
                fields.get("state")?,
                fields.get("number")?,
            ))
        });
        let read = |row: &Row| Fields::of("upstream_sessions", "id", row)?.get("next_refresh_at");
        let oldest_due = sql("SELECT id, next_refresh_at FROM upstream_sessions
             WHERE state IN ('active', 'uncertain') AND next_refresh_at <= $1
             ORDER BY next_refresh_at LIMIT 1")
        .bind(&now)
        .one(self.reader(), read)
        .await?;
        Ok(SessionCounts {
            counts: counts.collect::<Result<_, StorageError>>()?,
            oldest_due,
        })
    }

    async fn end_upstream_session(
        &self,
        id: RowId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let ended = end_session(&mut tx, id, reason, now).await?;
        end_grants(&mut tx, id, RevokeReason::ByOperator, now).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(ended)
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
            let rows = sql(concat!(
                "SELECT s.id FROM upstream_sessions s
                 WHERE s.state <> 'ended' AND s.created_at < $1 AND ",
                unused!(),
                " ORDER BY s.created_at, s.id LIMIT $2"
            ))
            .bind((&before, &ABANDONED_BATCH))
            .all(self.reader())
            .await?;
            if rows.is_empty() {
                return Ok(ended);
            }
            let mut ended_now = 0;
            let mut tx = self.begin().await?;
            // In the order of their ids (`ending`).
            let mut abandoned = ids("upstream_sessions", &rows);
            abandoned.sort_unstable();
            for id in abandoned {
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
        // Materialized, as for the keeper: no more than the limit is claimed.
        let rows = sql(concat!(
            "WITH due AS MATERIALIZED (SELECT id FROM upstream_sessions WHERE revoke_due_at <= $1
                 ORDER BY revoke_due_at, id LIMIT $3",
            skip_locked!(),
            ") UPDATE upstream_sessions
                 SET revoke_due_at = $2, revoke_attempts = revoke_attempts + 1
             WHERE revoke_due_at <= $1 AND id IN (SELECT id FROM due)
             RETURNING revoke_attempts, ",
            session_columns!()
        ))
        .bind((&now, &retry_at, &limit))
        .all(self.writer())
        .await?;
        Ok(readable(&rows, |row| {
            let attempts: u32 =
                Fields::of("upstream_sessions", "id", row)?.get("revoke_attempts")?;
            // The count includes this claim; the caller receives the tries before it.
            Ok(DueRevocation {
                session: read_session(row)?,
                attempts: attempts.saturating_sub(1),
            })
        }))
    }

    async fn revocation_done(&self, id: RowId) -> Result<(), StorageError> {
        sql("UPDATE upstream_sessions
             SET revoke_due_at = NULL, access_token = '', refresh_token = NULL, dpop_key = '',
                 password = CASE WHEN password IS NULL THEN NULL ELSE '' END
             WHERE id = $1 AND state = 'ended'")
        .bind(&id)
        .execute(self.writer())
        .await?;
        Ok(())
    }
}
