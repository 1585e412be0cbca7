//! The keeper's verbs: lease with a fence, journal before sending, compare-and-set afterwards.

use std::time::Duration;

use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::{
    JournalEntry, Lease, ReauthReason, RefreshFailure, Refreshed, Settle, TakeLease,
};

use super::sql::{Fields, sql, unavailable};
use super::{Conn, Store};

pub(super) async fn lease(
    store: &Store,
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
        ") RETURNING id, fence, lease_until"
    ))
    .bind(&id)
    .bind(&generation)
    .bind(&owner.to_owned())
    .bind(&length)
    .bind(&now)
    .first(store.writer())
    .await?;
    if let Some(row) = taken {
        let fields = Fields::of("upstream_sessions", "id", &row)?;
        let (fence, until) = (fields.get("fence")?, fields.get("lease_until")?);
        return Ok(TakeLease::Leased(Lease {
            owner: owner.to_owned(),
            fence,
            until,
        }));
    }
    let held = sql("SELECT id, lease_until FROM upstream_sessions
         WHERE id = $1 AND generation = $2 AND state IN ('active', 'uncertain')
             AND lease_until IS NOT NULL")
    .bind(&id)
    .bind(&generation)
    .first(store.reader())
    .await?;
    match held {
        Some(row) => Ok(TakeLease::Held(
            Fields::of("upstream_sessions", "id", &row)?.get("lease_until")?,
        )),
        None => Ok(TakeLease::Changed),
    }
}

/// Succeeds only while the lease runs: nothing may be sent under a lease that has lapsed.
pub(super) async fn journal_sent(
    store: &Store,
    entry: &JournalEntry,
) -> Result<Settle, StorageError> {
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
    .bind(&entry.id)
    .bind(&entry.fence)
    .bind(&entry.refresh)
    .bind(&entry.sent_at)
    .execute(store.writer())
    .await?;
    Ok(settled(written))
}

pub(super) async fn journalled(
    store: &Store,
    id: RowId,
) -> Result<Option<JournalEntry>, StorageError> {
    let row = sql("SELECT session_id, fence, refresh_hash, sent_at
         FROM upstream_refresh_journal WHERE session_id = $1")
    .bind(&id)
    .first(store.reader())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::of("upstream_refresh_journal", "session_id", &row)?;
    Ok(Some(JournalEntry {
        id: fields.get("session_id")?,
        fence: fields.get("fence")?,
        refresh: fields.get("refresh_hash")?,
        sent_at: fields.get("sent_at")?,
    }))
}

pub(super) async fn store_refreshed(
    store: &Store,
    refreshed: &Refreshed,
) -> Result<Settle, StorageError> {
    let mut tx = store.begin().await?;
    let written = sql("UPDATE upstream_sessions SET
             access_token = $4, refresh_token = $5, access_expires_at = $6, scope = $7,
             next_refresh_at = $8, refreshed_at = $9, pds = $10, generation = generation + 1,
             state = 'active', failures = 0, lease_owner = NULL, lease_until = NULL
         WHERE id = $1 AND generation = $2 AND fence = $3 AND state IN ('active', 'uncertain')")
    .bind(&refreshed.id)
    .bind(&refreshed.generation)
    .bind(&refreshed.fence)
    .bind(&refreshed.tokens.access)
    .bind(&refreshed.tokens.refresh)
    .bind(&refreshed.tokens.access_expires_at)
    .bind(&refreshed.scope)
    .bind(&refreshed.next_refresh_at)
    .bind(&refreshed.now)
    .bind(&refreshed.pds)
    .execute(&mut *tx)
    .await?;
    clear_journal(&mut tx, refreshed.id, written).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(settled(written))
}

pub(super) async fn settle_failure(
    store: &Store,
    id: RowId,
    generation: i64,
    fence: i64,
    failure: &RefreshFailure,
    now: Timestamp,
) -> Result<Settle, StorageError> {
    let outcome = FailureColumns::of(failure);
    let mut tx = store.begin().await?;
    let written = sql("UPDATE upstream_sessions SET
             state = COALESCE($4, state), reason = $5,
             next_refresh_at = COALESCE($6, next_refresh_at), failures = failures + 1,
             lease_owner = NULL, lease_until = NULL
         WHERE id = $1 AND generation = $2 AND fence = $3 AND state IN ('active', 'uncertain')
             AND lease_owner IS NOT NULL")
    .bind(&id)
    .bind(&generation)
    .bind(&fence)
    .bind(&outcome.state.map(str::to_owned))
    .bind(&outcome.reason)
    .bind(&outcome.next_refresh_at)
    .execute(&mut *tx)
    .await?;
    if written > 0 && matches!(failure, RefreshFailure::NeedsReauth(_)) {
        end_grants(&mut tx, id, now).await?;
    }
    clear_journal(&mut tx, id, written).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(settled(written))
}

/// Ends the grants that a dead session served.
async fn end_grants(conn: &mut Conn, session: RowId, now: Timestamp) -> Result<(), StorageError> {
    sql("UPDATE grants SET revoked_at = $2, revoke_reason = $3
         WHERE upstream_session = $1 AND revoked_at IS NULL")
    .bind(&session)
    .bind(&now)
    .bind(&RevokeReason::UpstreamEnded)
    .execute(conn)
    .await?;
    Ok(())
}

/// What a failure changes; `None` keeps the column. An uncertain session whose retry could not
/// even be sent stays uncertain.
struct FailureColumns {
    state: Option<&'static str>,
    reason: Option<ReauthReason>,
    next_refresh_at: Option<Timestamp>,
}

impl FailureColumns {
    fn of(failure: &RefreshFailure) -> Self {
        let (state, reason, next_refresh_at) = match failure {
            RefreshFailure::Retry(at) => (None, None, Some(*at)),
            RefreshFailure::Uncertain(at) => (Some("uncertain"), None, Some(*at)),
            RefreshFailure::NeedsReauth(reason) => (Some("needs_reauth"), Some(*reason), None),
        };
        Self {
            state,
            reason,
            next_refresh_at,
        }
    }
}

/// Forgets the journal entry of an attempt that was just settled by `written` rows.
async fn clear_journal(conn: &mut Conn, id: RowId, written: u64) -> Result<(), StorageError> {
    if written > 0 {
        sql("DELETE FROM upstream_refresh_journal WHERE session_id = $1")
            .bind(&id)
            .execute(conn)
            .await?;
    }
    Ok(())
}

fn settled(written: u64) -> Settle {
    if written > 0 {
        Settle::Stored
    } else {
        Settle::Superseded
    }
}
