//! The end of a grant.

use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::EndReason;

use super::DbConnection;
use super::ending::end_unused_session;
use super::logout::note_end_of_grant;
use super::sql::{Fields, readable, sql};

/// Ends one grant, and its upstream session if no other live grant uses it. Whether it was live.
pub(super) async fn revoke_grant(
    conn: &mut DbConnection,
    id: RowId,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let revoked = sql("UPDATE grants SET revoked_at = $2, revoke_reason = $3
         WHERE id = $1 AND revoked_at IS NULL RETURNING id, upstream_session")
    .bind((&id, &now, &reason))
    .first(&mut *conn)
    .await?;
    let Some(row) = revoked else { return Ok(false) };
    note_end_of_grant(conn, id, reason, now).await?;
    // A grant ends even if its row does not say what it used.
    let used = readable(&[row], |row| {
        Fields::of("grants", "id", row)?.get("upstream_session")
    });
    for session in used {
        end_unused_session(conn, session, EndReason::GrantRevoked, now).await?;
    }
    Ok(true)
}
