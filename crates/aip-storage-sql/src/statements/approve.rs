//! The yes of a person: the request becomes a grant and a code.

use aip_storage::StorageError;
use aip_storage::grant::{Approval, Approve};

use super::Store;
use super::sql::{sql, unavailable};
use super::upstream::lock_usable_session;

pub(super) async fn approve(store: &Store, approval: &Approval) -> Result<Approve, StorageError> {
    let Approval {
        request,
        browser,
        grant,
        code,
    } = approval;
    let mut tx = store.begin().await?;
    let spent = sql("DELETE FROM authorization_requests
         WHERE token = $1 AND browser_id = $2 AND client_id = $3 AND expires_at > $4")
    .bind(request)
    .bind(browser)
    .bind(&grant.client_id)
    .bind(&grant.created_at)
    .execute(&mut *tx)
    .await?;
    if spent == 0 {
        return Ok(Approve::RequestGone);
    }
    // Held until the grant is in: whoever ends unused sessions waits, and then sees the grant.
    if !lock_usable_session(&mut tx, grant.upstream_session).await? {
        tx.commit().await.map_err(unavailable)?;
        return Ok(Approve::RequestGone);
    }
    sql("INSERT INTO grants
             (id, client_id, did, scope, upstream_session, dpop_jkt, auth_time, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&grant.did)
    .bind(&grant.scope)
    .bind(&grant.upstream_session)
    .bind(&grant.dpop_jkt)
    .bind(&grant.auth_time)
    .bind(&grant.created_at)
    .execute(&mut *tx)
    .await?;
    sql("INSERT INTO codes
             (hash, grant_id, client_id, redirect_uri, code_challenge, dpop_jkt, nonce, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(&code.hash)
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&code.redirect_uri)
    .bind(&code.code_challenge)
    .bind(&code.dpop_jkt)
    .bind(&code.nonce)
    .bind(&code.expires_at)
    .execute(&mut *tx)
    .await?;
    sql(
        "INSERT INTO consents (browser_id, client_id, did, scope, updated_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (browser_id, client_id, did) DO UPDATE SET
             scope = excluded.scope, updated_at = excluded.updated_at",
    )
    .bind(browser)
    .bind(&grant.client_id)
    .bind(&grant.did)
    .bind(&grant.scope)
    .bind(&grant.created_at)
    .execute(&mut *tx)
    .await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(Approve::Approved)
}
