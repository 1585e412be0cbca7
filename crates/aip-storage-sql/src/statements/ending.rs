//! The end of upstream sessions and of the grants that they serve, inside the transactions of the
//! verbs that need it.
//!
//! # The order of locks
//!
//! Two transactions that lock the same rows in different orders wait for each other until PostgreSQL
//! ends one of them. So every transaction locks in this order, and rows of one table by their ids:
//!
//! 1. the registration of a client (`client_registrations`), then the client itself. No transaction holds
//!    what is of two clients: one that gives its place up does so before the other is kept (`client_document`);
//! 2. authorization requests;
//! 3. delegations;
//! 4. upstream sessions;
//! 5. codes and device codes;
//! 6. grants, those by which delegates act after those of their own that these end with;
//! 7. what hangs from a grant (`logout_deliveries`), browser sessions and their accounts, consents.
//!
//! Whoever ends grants locks their sessions first ([`lock_sessions`]), as whoever ends a session has
//! locked that before its grants. The clean-up waits for nobody: it leaves locked rows to its next round.

use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::EndReason;

use super::DbConnection;
use super::logout::note_end_of_session;
use super::sql::sql;

/// That nobody needs the session `s`: no live grant, and no live delegation. An app password serves all
/// grants of its client and account; it outlives those that ended with their OAuth session, because their
/// person is expected back.
macro_rules! unused {
    () => {
        "NOT EXISTS (SELECT 1 FROM grants g
             WHERE g.upstream_session = s.id AND g.revoked_at IS NULL)
         AND NOT EXISTS (SELECT 1 FROM delegations d
             WHERE d.upstream_session = s.id AND d.ended_at IS NULL)
         AND (s.kind <> 'app_password' OR NOT EXISTS (SELECT 1 FROM grants g
             WHERE g.client_id = s.client_id AND g.did = s.did AND g.delegation_id IS NULL
                 AND (g.revoked_at IS NULL OR g.revoke_reason = 'upstream_ended')))"
    };
}
pub(super) use unused;

/// Ends the live grants that match the condition, at `$2` for the reason `$3`; locked by their ids.
macro_rules! end_live_grants {
    ($condition:literal) => {
        concat!(
            "WITH held AS MATERIALIZED (SELECT id FROM grants WHERE revoked_at IS NULL AND ",
            $condition,
            " ORDER BY id",
            for_update!(),
            ") UPDATE grants SET revoked_at = $2, revoke_reason = $3
             WHERE id IN (SELECT id FROM held)"
        )
    };
}
pub(super) use end_live_grants;

/// Locks sessions, in the order of their ids, for a transaction that is about to end their grants.
pub(super) async fn lock_sessions(
    conn: &mut DbConnection,
    mut sessions: Vec<RowId>,
) -> Result<(), StorageError> {
    sessions.sort_unstable();
    sessions.dedup();
    for id in sessions {
        hold_session(conn, id).await?;
    }
    Ok(())
}

async fn hold_session(conn: &mut DbConnection, id: RowId) -> Result<(), StorageError> {
    sql(concat!(
        "SELECT id FROM upstream_sessions WHERE id = $1",
        for_update!()
    ))
    .bind(&id)
    .all(conn)
    .await?;
    Ok(())
}

/// Ends a session, whoever uses it, and makes it due for revocation. Whether it was live.
pub(super) async fn end_session(
    conn: &mut DbConnection,
    id: RowId,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let ended = sql("UPDATE upstream_sessions SET
             state = 'ended', reason = $2, ended_at = $3, revoke_due_at = $3,
             lease_owner = NULL, lease_until = NULL
         WHERE id = $1 AND state <> 'ended'")
    .bind((&id, &reason, &now))
    .execute(conn)
    .await?;
    Ok(ended == 1)
}

/// Ends a session that no live grant uses, and no request that waits for a decision. Whether it
/// did.
pub(super) async fn end_unused_session(
    conn: &mut DbConnection,
    id: RowId,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    // Two statements, because the second must see the grants that were stored while the first
    // waited for the lock (`approve` holds it while it stores one).
    hold_session(conn, id).await?;
    let unused = sql(concat!(
        "SELECT s.id FROM upstream_sessions s WHERE s.id = $1 AND ",
        unused!(),
        " AND NOT EXISTS (SELECT 1 FROM authorization_requests r
              WHERE r.signed_in_session = s.id AND r.expires_at > $2)"
    ))
    .bind((&id, &now))
    .first(&mut *conn)
    .await?;
    if unused.is_some() {
        end_session(conn, id, reason, now).await
    } else {
        Ok(false)
    }
}

/// Ends the grants that a session served.
pub(super) async fn end_grants(
    conn: &mut DbConnection,
    session: RowId,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<(), StorageError> {
    // In the order of their ids, as whoever signs a browser out locks them.
    sql(concat!(
        "SELECT id FROM grants WHERE upstream_session = $1 AND revoked_at IS NULL ORDER BY id",
        for_update!()
    ))
    .bind(&session)
    .all(&mut *conn)
    .await?;
    sql("UPDATE grants SET revoked_at = $2, revoke_reason = $3
         WHERE upstream_session = $1 AND revoked_at IS NULL")
    .bind((&session, &now, &reason))
    .execute(&mut *conn)
    .await?;
    // What delegates do by these grants ends with them.
    sql(end_live_grants!(
        "parent_grant IN (SELECT id FROM grants WHERE upstream_session = $1 AND revoked_at = $2)"
    ))
    .bind((&session, &now, &reason))
    .execute(&mut *conn)
    .await?;
    note_end_of_session(conn, session, reason, now).await
}
