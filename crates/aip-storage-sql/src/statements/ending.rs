//! The end of upstream sessions and of the grants that they serve, inside the transactions of the
//! verbs that need it.

use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::EndReason;

use super::DbConnection;
use super::logout::note_end_of_session;
use super::sql::sql;

/// That nobody needs the session `s`. An app password serves all grants of its client and account;
/// it outlives those that ended with their OAuth session, because their person is expected back.
macro_rules! unused {
    () => {
        "NOT EXISTS (SELECT 1 FROM grants g
             WHERE g.upstream_session = s.id AND g.revoked_at IS NULL)
         AND (s.kind <> 'app_password' OR NOT EXISTS (SELECT 1 FROM grants g
             WHERE g.client_id = s.client_id AND g.did = s.did
                 AND (g.revoked_at IS NULL OR g.revoke_reason = 'upstream_ended')))"
    };
}
pub(super) use unused;

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
    sql(concat!(
        "SELECT id FROM upstream_sessions WHERE id = $1",
        for_update!()
    ))
    .bind(&id)
    .all(&mut *conn)
    .await?;
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
    note_end_of_session(conn, session, reason, now).await
}
