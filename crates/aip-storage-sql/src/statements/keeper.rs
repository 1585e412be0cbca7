//! The keeper's verbs: lease with a fence, journal before sending, compare-and-set afterwards.

use std::time::Duration;

use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::refresh::{
    Claim, ClaimDue, FailedRefresh, JournalEntry, RefreshFailure, Refreshed, Refreshes, Settle,
    TakeLease,
};
use aip_storage::upstream::{ReauthReason, StateName, UpstreamSession};
use async_trait::async_trait;

use super::Store;
use super::ending::end_grants;
use super::session_row::{claim_columns, read_claim, read_session, session_columns};
use super::sql::{Fields, Row, sql, unavailable};

#[async_trait]
impl Refreshes for Store {
    async fn lease(
        &self,
        id: RowId,
        generation: i64,
        owner: &str,
        length: Duration,
        now: Timestamp,
    ) -> Result<TakeLease, StorageError> {
        let taken = sql(concat!(
            "UPDATE upstream_sessions SET lease_owner = $3, fence = fence + 1, lease_until = $4 + ",
            database_now!("$5"),
            " WHERE id = $1 AND generation = $2 AND state IN ('active', 'uncertain')
                 AND (lease_until IS NULL OR lease_until < ",
            database_now!("$5"),
            ") RETURNING id, state, lease_owner, fence, lease_until, ",
            claim_columns!()
        ))
        .bind((&id, &generation, &owner.to_owned(), &length, &now))
        .first(self.writer())
        .await?;
        if let Some(row) = taken {
            return Ok(TakeLease::Leased(read_claim(&row)?));
        }
        let held = sql("SELECT id, lease_until FROM upstream_sessions
             WHERE id = $1 AND generation = $2 AND state IN ('active', 'uncertain')
                 AND lease_until IS NOT NULL")
        .bind((&id, &generation))
        .first(self.reader())
        .await?;
        match held {
            Some(row) => Ok(TakeLease::Held(
                Fields::of("upstream_sessions", "id", &row)?.get("lease_until")?,
            )),
            None => Ok(TakeLease::Changed),
        }
    }

    async fn claim_due(
        &self,
        claim: ClaimDue<'_>,
    ) -> Result<Vec<Result<(UpstreamSession, Claim), StorageError>>, StorageError> {
        // One text for any number of servers: ` one two `, each between spaces.
        let except = claim
            .except
            .iter()
            .fold(" ".to_owned(), |all, origin| all + origin.as_str() + " ");
        // Materialized: an engine that ran the inner statement once for each row would claim more than
        // the limit.
        let rows = sql(concat!(
            "WITH due AS MATERIALIZED (SELECT id FROM upstream_sessions
                 WHERE state IN ('active', 'uncertain') AND next_refresh_at <= $3
                     AND (lease_until IS NULL OR lease_until < ",
            database_now!("$3"),
            ") AND $5 NOT LIKE '% ' || pds || ' %' AND $5 NOT LIKE '% ' || issuer || ' %'
                 ORDER BY next_refresh_at, id LIMIT $4",
            skip_locked!(),
            ") UPDATE upstream_sessions SET lease_owner = $1, fence = fence + 1, lease_until = $2 + ",
            database_now!("$3"),
            " WHERE state IN ('active', 'uncertain')
                 AND (lease_until IS NULL OR lease_until < ",
            database_now!("$3"),
            ") AND id IN (SELECT id FROM due",
            ") RETURNING ",
            session_columns!(),
            ", ",
            claim_columns!()
        ))
        .bind(&claim.owner.to_owned())
        .bind(&claim.length)
        .bind(&claim.now)
        .bind(&claim.limit)
        .bind(&except)
        .all(self.writer())
        .await?;
        Ok(rows
            .iter()
            .map(|row| Ok((read_session(row)?, read_claim(row)?)))
            .collect())
    }

    async fn hold_lease(
        &self,
        id: RowId,
        fence: i64,
        length: Duration,
        now: Timestamp,
    ) -> Result<Settle, StorageError> {
        let written = sql(concat!(
            "UPDATE upstream_sessions SET lease_until = $3 + ",
            database_now!("$4"),
            " WHERE id = $1 AND fence = $2 AND lease_owner IS NOT NULL"
        ))
        .bind((&id, &fence, &length, &now))
        .execute(self.writer())
        .await?;
        Ok(settled(written))
    }

    /// Succeeds only while the lease runs: nothing may be sent under a lease that has lapsed.
    async fn journal_sent(&self, entry: &JournalEntry) -> Result<Settle, StorageError> {
        let written = sql(concat!(
            "INSERT INTO upstream_refresh_journal (session_id, fence, refresh_hash, sent_at)
             SELECT id, fence, $3, $4 FROM upstream_sessions
             WHERE id = $1 AND fence = $2 AND state IN ('active', 'uncertain') AND lease_until >= ",
            database_now!("$4"),
            for_update!(),
            " ON CONFLICT (session_id) DO UPDATE SET
                 fence = excluded.fence, refresh_hash = excluded.refresh_hash,
                 sent_at = excluded.sent_at"
        ))
        .bind((&entry.id, &entry.fence, &entry.refresh, &entry.sent_at))
        .execute(self.writer())
        .await?;
        Ok(settled(written))
    }

    async fn journalled(&self, id: RowId) -> Result<Option<JournalEntry>, StorageError> {
        let read = |row: &Row| {
            let fields = Fields::of("upstream_refresh_journal", "session_id", row)?;
            Ok(JournalEntry {
                id: fields.get("session_id")?,
                fence: fields.get("fence")?,
                refresh: fields.get("refresh_hash")?,
                sent_at: fields.get("sent_at")?,
            })
        };
        sql("SELECT session_id, fence, refresh_hash, sent_at
             FROM upstream_refresh_journal WHERE session_id = $1")
        .bind(&id)
        .one(self.reader(), read)
        .await
    }

    async fn store_refreshed(&self, refreshed: &Refreshed) -> Result<Settle, StorageError> {
        let mut tx = self.begin().await?;
        let written = sql("UPDATE upstream_sessions SET
                 access_token = $4, refresh_token = $5, access_expires_at = $6, scope = $7,
                 next_refresh_at = $8, refreshed_at = $9, pds = $10, generation = generation + 1,
                 state = 'active', failures = $11, last_error = COALESCE($12, last_error),
                 rejections = 0, rejected_since = NULL, lease_owner = NULL, lease_until = NULL
             WHERE id = $1 AND generation = $2 AND state IN ('active', 'uncertain')
                 AND (fence = $3 OR EXISTS (SELECT 1 FROM upstream_refresh_journal j
                     WHERE j.session_id = upstream_sessions.id AND j.fence = $3))")
        .bind(&refreshed.id)
        .bind(&refreshed.generation)
        .bind(&refreshed.fence)
        .bind(&refreshed.tokens.access)
        .bind(&refreshed.tokens.refresh)
        .bind(&refreshed.tokens.access_expires_at)
        .bind(&refreshed.scope)
        .bind(&refreshed.next_refresh_at)
        .bind(&refreshed.asked_at)
        .bind(&refreshed.pds)
        .bind(&refreshed.partial.as_ref().map_or(0, |it| it.failures))
        .bind(&refreshed.partial.as_ref().map(|it| it.error.clone()))
        .execute(&mut *tx)
        .await?;
        if written > 0 {
            sql("DELETE FROM upstream_refresh_journal WHERE session_id = $1")
                .bind(&refreshed.id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(settled(written))
    }

    async fn settle_failure(&self, failed: FailedRefresh<'_>) -> Result<Settle, StorageError> {
        let outcome = FailureColumns::of(failed.failure);
        let mut tx = self.begin().await?;
        let written = sql("UPDATE upstream_sessions SET
                 state = COALESCE($4, state), reason = $5,
                 next_refresh_at = COALESCE($6, next_refresh_at), failures = failures + $7,
                 last_error = COALESCE($8, last_error), rejections = rejections * $9 + $10,
                 rejected_since = CASE WHEN $9 = 0 THEN NULL ELSE COALESCE(rejected_since, $11) END,
                 lease_owner = NULL, lease_until = NULL
             WHERE id = $1 AND generation = $2 AND fence = $3 AND state IN ('active', 'uncertain')
                 AND lease_owner IS NOT NULL")
        .bind(&failed.id)
        .bind(&failed.generation)
        .bind(&failed.fence)
        .bind(&outcome.state)
        .bind(&outcome.reason)
        .bind(&outcome.next_refresh_at)
        .bind(&u32::from(outcome.counts))
        .bind(&outcome.counts.then(|| failed.error.to_owned()))
        .bind(&u32::from(outcome.keeps_rejections))
        .bind(&u32::from(outcome.rejects))
        .bind(&outcome.rejects.then_some(failed.now))
        .execute(&mut *tx)
        .await?;
        if written > 0 {
            sql("DELETE FROM upstream_refresh_journal WHERE session_id = $1 AND fence = $2")
                .bind((&failed.id, &failed.fence))
                .execute(&mut *tx)
                .await?;
            if matches!(failed.failure, RefreshFailure::NeedsReauth(_)) {
                end_grants(&mut tx, failed.id, RevokeReason::UpstreamEnded, failed.now).await?;
            }
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(settled(written))
    }

    async fn reject_tokens(
        &self,
        id: RowId,
        generation: i64,
        now: Timestamp,
    ) -> Result<Settle, StorageError> {
        let mut tx = self.begin().await?;
        // A refresh that is under way has replaced the tokens already, and that is why they are dead.
        let written = sql(
            "UPDATE upstream_sessions SET state = 'needs_reauth', reason = $3
             WHERE id = $1 AND generation = $2 AND state = 'active' AND lease_owner IS NULL
                 AND NOT EXISTS (SELECT 1 FROM upstream_refresh_journal WHERE session_id = $1)",
        )
        .bind((&id, &generation, &ReauthReason::Rejected))
        .execute(&mut *tx)
        .await?;
        if written > 0 {
            end_grants(&mut tx, id, RevokeReason::UpstreamEnded, now).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(settled(written))
    }
}

/// What a failure changes; `None` keeps the column. An uncertain session whose retry could not
/// even be sent stays uncertain.
struct FailureColumns {
    state: Option<StateName>,
    reason: Option<ReauthReason>,
    next_refresh_at: Option<Timestamp>,
    counts: bool,
    /// It was one more definite refusal.
    rejects: bool,
    /// Those before it still count as being in a row.
    keeps_rejections: bool,
}

impl FailureColumns {
    fn of(failure: &RefreshFailure) -> Self {
        let (state, reason, next_refresh_at) = match failure {
            RefreshFailure::Deferred(at)
            | RefreshFailure::Retry(at)
            | RefreshFailure::Rejected(at) => (None, None, Some(*at)),
            RefreshFailure::Uncertain(at) => (Some(StateName::Uncertain), None, Some(*at)),
            RefreshFailure::NeedsReauth(reason) => {
                (Some(StateName::NeedsReauth), Some(*reason), None)
            }
        };
        let deferred = matches!(failure, RefreshFailure::Deferred(_));
        let rejects = matches!(failure, RefreshFailure::Rejected(_));
        Self {
            state,
            reason,
            next_refresh_at,
            counts: !deferred,
            rejects,
            keeps_rejections: rejects || deferred,
        }
    }
}

fn settled(written: u64) -> Settle {
    if written > 0 {
        Settle::Stored
    } else {
        Settle::Superseded
    }
}
