//! The end of a grant.

use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::EndReason;

use super::DbConnection;
use super::ending::{end_live_grants, end_unused_session, lock_sessions};
use super::logout::note_end_of_grant;
use super::sql::{Fields, Row, ids, readable, sql};

/// Ends one grant, and its upstream session if no other live grant uses it. Whether it was live.
pub(super) async fn revoke_grant(
    conn: &mut DbConnection,
    id: RowId,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let used = session_of(conn, id).await?;
    lock_sessions(conn, used.into_iter().collect()).await?;
    let revoked = end_grant(conn, id, reason, now).await?;
    let Some(row) = revoked else { return Ok(false) };
    // What its person does by it for others ends with it. A statement of its own: it sees what was
    // stored while the one before waited.
    sql(end_live_grants!("parent_grant = $1"))
        .bind((&id, &now, &reason))
        .execute(&mut *conn)
        .await?;
    note_end(conn, id, row, reason, now).await?;
    Ok(true)
}

/// [`revoke_grant`] of several, whose sessions are held: first all of them, then all by which their people
/// act for others. Returns how many were live.
pub(super) async fn revoke_grants(
    conn: &mut DbConnection,
    mut grants: Vec<RowId>,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<u64, StorageError> {
    grants.sort_unstable();
    let (mut ended, mut revoked) = (0, Vec::new());
    for id in grants {
        if let Some(row) = end_grant(conn, id, reason, now).await? {
            revoked.push((id, row));
            ended += 1;
        }
    }
    let mut delegated = Vec::new();
    for (id, _) in &revoked {
        let rows = sql("SELECT id FROM grants WHERE parent_grant = $1 AND revoked_at IS NULL")
            .bind(id)
            .all(&mut *conn)
            .await?;
        delegated.extend(ids("grants", &rows));
    }
    delegated.sort_unstable();
    for id in delegated {
        end_grant(conn, id, reason, now).await?;
    }
    for (id, row) in revoked {
        note_end(conn, id, row, reason, now).await?;
    }
    Ok(ended)
}

/// Ends one grant and nothing else. Its `id` and `upstream_session` if it was live.
async fn end_grant(
    conn: &mut DbConnection,
    id: RowId,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<Option<Row>, StorageError> {
    sql("UPDATE grants SET revoked_at = $2, revoke_reason = $3
         WHERE id = $1 AND revoked_at IS NULL RETURNING id, upstream_session")
    .bind((&id, &now, &reason))
    .first(conn)
    .await
}

/// What follows from the end of a grant: its client is notified, and its session ends if nobody uses it.
async fn note_end(
    conn: &mut DbConnection,
    id: RowId,
    row: Row,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<(), StorageError> {
    note_end_of_grant(conn, id, reason, now).await?;
    // A grant ends even if its row does not say what it used.
    for session in sessions_of(&[row]) {
        end_unused_session(conn, session, EndReason::GrantRevoked, now).await?;
    }
    Ok(())
}

/// The session that a live grant uses, which never changes. `None`: there is no such grant, or its row
/// does not say it.
async fn session_of(conn: &mut DbConnection, grant: RowId) -> Result<Option<RowId>, StorageError> {
    let row = sql("SELECT id, upstream_session FROM grants WHERE id = $1 AND revoked_at IS NULL")
        .bind(&grant)
        .first(conn)
        .await?;
    Ok(sessions_of(row.as_slice()).pop())
}

/// The sessions that grants use, of rows with `id` and `upstream_session`.
pub(super) fn sessions_of(grants: &[Row]) -> Vec<RowId> {
    readable(grants, |row| {
        Fields::of("grants", "id", row)?.get("upstream_session")
    })
}
