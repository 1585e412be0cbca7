//! The end of grants.

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::EndReason;

use super::ending::end_unused_session;
use super::sql::{Fields, readable, sql, unavailable};
use super::{DbConnection, Store};

/// Ends one grant, and its upstream session if no other live grant uses it. Whether it was live.
pub(super) async fn revoke_grant(
    conn: &mut DbConnection,
    id: RowId,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let revoked = sql("UPDATE grants SET revoked_at = $2, revoke_reason = $3
         WHERE id = $1 AND revoked_at IS NULL RETURNING id, upstream_session")
    .bind(&id)
    .bind(&now)
    .bind(&reason)
    .first(&mut *conn)
    .await?;
    let Some(row) = revoked else { return Ok(false) };
    // A grant ends even if its row does not say what it used.
    let used = readable(&[row], |row| {
        Fields::of("grants", "id", row)?.get("upstream_session")
    });
    for session in used {
        end_unused_session(conn, session, EndReason::GrantRevoked, now).await?;
    }
    Ok(true)
}

/// Ends every live grant of a client and account, and forgets the consents.
pub(super) async fn revoke_client_grants(
    store: &Store,
    client: &ClientId,
    did: &Did,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let mut tx = store.begin().await?;
    sql("DELETE FROM consents WHERE client_id = $1 AND did = $2")
        .bind(client)
        .bind(did)
        .execute(&mut *tx)
        .await?;
    // In the order of their ids, so that two callers cannot wait for each other.
    let rows = sql("SELECT id FROM grants
         WHERE client_id = $1 AND did = $2 AND revoked_at IS NULL ORDER BY id")
    .bind(client)
    .bind(did)
    .all(&mut *tx)
    .await?;
    let mut ended = 0;
    for id in readable(&rows, |row| Fields::of("grants", "id", row)?.get("id")) {
        ended += u64::from(revoke_grant(&mut tx, id, reason, now).await?);
    }
    tx.commit().await.map_err(unavailable)?;
    Ok(ended)
}
