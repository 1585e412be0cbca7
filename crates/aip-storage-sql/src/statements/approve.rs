//! The yes of a person: the request becomes a grant and a code.

use aip_atproto::ScopeSet;
use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::grant::{Approval, Approve, Grant, NewCode, Redemption};
use aip_storage::request::{AnsweredRequest, Delivery, RequestAnswer};
use aip_storage::upstream::EndReason;

use super::audit::insert_event;
use super::client_document::{KeepOutcome, MAX_EVICTIONS, evict_unused_client};
use super::ending::end_session;
use super::request::note_answer;
use super::sql::{Fields, Row, sql, unavailable};
use super::{DbConnection, Store, client_document, device};

/// What became of one try.
enum Attempt {
    Done(Approve),
    /// Nothing was changed: there are too many clients of which AIP knows by their documents, of those whose id
    /// begins with that.
    NeedsRoom(String),
}

/// [`Grants::approve`](aip_storage::grant::Grants::approve). Where a new client needs room, one that nobody
/// allows anything any more gives its place up.
pub(super) async fn approve(store: &Store, approval: &Approval) -> Result<Approve, StorageError> {
    for evictions in 0..=MAX_EVICTIONS {
        let site = match try_to_approve(store, approval).await? {
            Attempt::Done(outcome) => return Ok(outcome),
            Attempt::NeedsRoom(site) => site,
        };
        let (id, now) = (&approval.grant.client_id, approval.grant.created_at);
        if evictions == MAX_EVICTIONS || !evict_unused_client(store, id, &site, now).await? {
            break;
        }
    }
    Ok(Approve::ClientsFull)
}

async fn try_to_approve(store: &Store, approval: &Approval) -> Result<Attempt, StorageError> {
    let Approval {
        request,
        browser,
        grant,
        ends_session,
        redemption,
        ..
    } = approval;
    let mut tx = store.begin().await?;
    if let Some(refused) = hold_client(&mut tx, approval).await? {
        return Ok(refused);
    }
    let spent = sql("DELETE FROM authorization_requests
         WHERE token = $1 AND browser_id = $2 AND client_id = $3 AND expires_at > $4")
    .bind((request, browser, &grant.client_id, &grant.created_at))
    .execute(&mut *tx)
    .await?;
    let gone = Attempt::Done(Approve::RequestGone);
    if spent == 0 {
        return Ok(gone);
    }
    let answered = AnsweredRequest {
        client_id: grant.client_id.clone(),
        delivery: match redemption {
            Redemption::Code(code) => Delivery::Redirect(code.redirect.clone()),
            Redemption::Device(code) => Delivery::Device(*code),
        },
        did: Some(grant.actor.clone()),
        answer: RequestAnswer::Granted(grant.id),
    };
    if !note_answer(&mut tx, request, *browser, &answered, grant.created_at).await? {
        return Ok(gone);
    }
    // A device is not signed out with the browser in which it was allowed.
    let signed_in_at = match redemption {
        Redemption::Code(_) => Some(*browser),
        Redemption::Device(_) => None,
    };
    // The session is held until the grant is in: whoever ends unused sessions waits, and then sees
    // the grant.
    let granted = sql(concat!(
        "INSERT INTO grants
             (id, client_id, did, scope, upstream_session, dpop_jkt, auth_time, created_at,
              authenticated_at, asked, actor, claims, resources, sector, browser_id)
         SELECT $1, $2, $3, $4, s.id, $6, $7, $7, $8, $9, $10, $11, $12, $13,
             (SELECT CAST($14 AS TEXT) FROM clients c WHERE c.id = $2
                 AND (c.backchannel_logout_uri IS NOT NULL
                     OR c.frontchannel_logout_uri IS NOT NULL))
         FROM upstream_sessions s
         WHERE s.id = $5 AND s.state IN ('active', 'uncertain')",
        for_update!()
    ))
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&grant.subject)
    .bind(&grant.scope)
    .bind(&grant.upstream_session)
    .bind(&grant.dpop_jkt)
    .bind(&grant.created_at)
    .bind(&grant.auth_time)
    .bind(&grant.asked)
    .bind(&grant.actor)
    .bind(&Some(grant.claims.clone()).filter(|it| !it.is_empty()))
    .bind(&grant.resources.if_any())
    .bind(&grant.sector)
    .bind(&signed_in_at)
    .execute(&mut *tx)
    .await?;
    if granted == 0 {
        tx.commit().await.map_err(unavailable)?;
        return Ok(gone);
    }
    match redemption {
        Redemption::Code(code) => put_code(&mut tx, grant, code).await?,
        // Decided in another browser, or expired.
        Redemption::Device(code) if !device::allow(&mut tx, code, grant).await? => {
            return Ok(gone);
        }
        Redemption::Device(_) => {}
    }
    add_consent(&mut tx, *browser, grant).await?;
    if *ends_session {
        let reason = EndReason::AuthenticationOnly;
        end_session(&mut tx, grant.upstream_session, reason, grant.created_at).await?;
    }
    insert_event(&mut *tx, &approval.event).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(Attempt::Done(Approve::Approved))
}

/// Holds the client until the grant is in, and keeps one whose document was read for this request. Why the
/// approval comes to nothing, if it does.
async fn hold_client(
    conn: &mut DbConnection,
    approval: &Approval,
) -> Result<Option<Attempt>, StorageError> {
    let Approval {
        grant,
        client_registered_itself,
        client_from_document,
        client_resources,
        ..
    } = approval;
    // A client that registered itself is used now, and stays. First of all, as whoever deletes it
    // begins with this row: so the two cannot wait for each other, and one sees what the other did.
    if *client_registered_itself {
        sql("UPDATE client_registrations SET unused_until = NULL
             WHERE client_id = $1 AND unused_until IS NOT NULL")
        .bind(&grant.client_id)
        .execute(&mut *conn)
        .await?;
    }
    // Held until the grant is in: whoever takes a resource from the client sees the grant, and narrows it.
    if let Some(resources) = client_resources {
        let unchanged = sql("UPDATE clients SET updated_at = updated_at
             WHERE id = $1 AND resources IS NOT DISTINCT FROM $2")
        .bind((&grant.client_id, &resources.if_any()))
        .execute(&mut *conn)
        .await?;
        if unchanged == 0 {
            let client = grant.client_id.as_str();
            tracing::info!(
                client,
                "authorization request ended: the resources of its client have changed"
            );
            return Ok(Some(Attempt::Done(Approve::RequestGone)));
        }
    }
    if let Some(document) = client_from_document {
        match client_document::keep(&mut *conn, document, &grant.subject, grant.created_at).await? {
            KeepOutcome::Kept => {}
            KeepOutcome::Full => return Ok(Some(Attempt::Done(Approve::ClientsFull))),
            KeepOutcome::NeedsRoom(site) => return Ok(Some(Attempt::NeedsRoom(site))),
            KeepOutcome::Registered => {
                return Ok(Some(Attempt::Done(Approve::RequestGone)));
            }
        }
    }
    Ok(None)
}

async fn put_code(
    conn: &mut DbConnection,
    grant: &Grant,
    code: &NewCode,
) -> Result<(), StorageError> {
    sql("INSERT INTO codes
             (hash, grant_id, client_id, redirect_uri, code_challenge, dpop_jkt, nonce, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(&code.hash)
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&code.redirect.redirect_uri)
    .bind(&code.code_challenge)
    .bind(&code.dpop_jkt)
    .bind(&code.nonce)
    .bind(&code.expires_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds what was allowed now to what the person allowed this client in this browser before.
async fn add_consent(
    conn: &mut DbConnection,
    browser: RowId,
    grant: &Grant,
) -> Result<(), StorageError> {
    let inserted = sql(
        "INSERT INTO consents (browser_id, client_id, did, scope, updated_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (browser_id, client_id, did) DO NOTHING",
    )
    .bind(&browser)
    .bind(&grant.client_id)
    .bind(&grant.actor)
    .bind(&grant.scope)
    .bind(&grant.created_at)
    .execute(&mut *conn)
    .await?;
    if inserted == 1 {
        return Ok(());
    }
    let read = |row: &Row| Fields::of("consents", "browser_id", row)?.get("scope");
    let allowed: Option<ScopeSet> = sql(concat!(
        "SELECT browser_id, scope FROM consents
         WHERE browser_id = $1 AND client_id = $2 AND did = $3",
        for_update!()
    ))
    .bind((&browser, &grant.client_id, &grant.actor))
    .one(&mut *conn, read)
    .await?;
    // Both together may be too many for one set. Then the latest decision stands alone, and the
    // person is asked again for what was allowed before.
    let both = allowed.and_then(|allowed| allowed.union(&grant.scope).ok());
    sql("UPDATE consents SET scope = $4, updated_at = $5
         WHERE browser_id = $1 AND client_id = $2 AND did = $3")
    .bind(&browser)
    .bind(&grant.client_id)
    .bind(&grant.actor)
    .bind(both.as_ref().unwrap_or(&grant.scope))
    .bind(&grant.created_at)
    .execute(conn)
    .await?;
    Ok(())
}
