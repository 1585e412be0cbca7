//! The ends of sign-ins, as apps are told of them.

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::logout::{
    CLAIMED_FOR, FrontChannelLogout, LogoutDeliveries, LogoutDelivery, LogoutNotification,
    LogoutUri, MAX_FRONT_CHANNEL_LOGOUTS, MAX_WAITING_PER_CLIENT, SignedOut,
};
use async_trait::async_trait;

use super::sql::{Fields, Row, readable, sql};
use super::{DbConnection, Store};

/// Stores the deliveries for the grants `g` that match the condition on `$1`: ended at `$2`, due at
/// `$3`, tried `$4` times. Only a sign-in with an `id_token` has a `sid` (OpenID Connect Core §3.1.2.1).
macro_rules! insert_deliveries {
    ($condition:expr) => {
        concat!(
            "INSERT INTO logout_deliveries (grant_id, client_id, did, ended_at, due_at, attempts)
             SELECT g.id, g.client_id, g.did, $2, $3, $4
             FROM grants g JOIN clients c ON c.id = g.client_id
             WHERE c.backchannel_logout_uri IS NOT NULL
                 AND (' ' || g.scope || ' ') LIKE '% openid %'
                 AND (SELECT COUNT(*) FROM logout_deliveries d
                     WHERE d.client_id = g.client_id) < $5
                 AND ",
            $condition,
            " ON CONFLICT (grant_id) DO NOTHING
             RETURNING grant_id, client_id, did, attempts"
        )
    };
}

/// That the grant `g` was given in the browser `$1`, by the account of that parameter unless that is
/// NULL, and that its app may still have the person signed in: that all tokens have expired says
/// nothing of the app's own session.
macro_rules! given_in_browser {
    ($did:literal) => {
        concat!(
            "g.browser_id = $1 AND (CAST(",
            $did,
            " AS TEXT) IS NULL OR COALESCE(g.actor, g.did) = ",
            $did,
            ") AND (g.revoked_at IS NULL OR g.revoke_reason = 'expired')"
        )
    };
}

#[async_trait]
impl LogoutDeliveries for Store {
    async fn claim_logouts(
        &self,
        now: Timestamp,
        limit: u32,
        share: u32,
    ) -> Result<Vec<LogoutDelivery>, StorageError> {
        // Materialized: otherwise PostgreSQL may look for what is due once more for each row.
        let rows = sql(concat!(
            "WITH due AS MATERIALIZED (SELECT grant_id FROM logout_deliveries
                 WHERE due_at <= $1 AND grant_id IN (SELECT grant_id FROM (
                     SELECT grant_id, ROW_NUMBER() OVER (
                         PARTITION BY client_id ORDER BY due_at, grant_id) AS place
                     FROM logout_deliveries WHERE due_at <= $1) placed WHERE place <= $4)
                 ORDER BY due_at, grant_id LIMIT $3",
            skip_locked!(),
            ") UPDATE logout_deliveries SET due_at = $2, attempts = attempts + 1
             WHERE due_at <= $1 AND grant_id IN (SELECT grant_id FROM due)
             RETURNING grant_id, client_id, did, attempts"
        ))
        .bind((&now, &(now + CLAIMED_FOR), &limit, &share))
        .all(self.writer())
        .await?;
        Ok(readable(&rows, read_delivery))
    }

    async fn put_logout_off(
        &self,
        delivery: &LogoutDelivery,
        at: Timestamp,
    ) -> Result<(), StorageError> {
        sql("UPDATE logout_deliveries SET due_at = $3 WHERE grant_id = $1 AND attempts = $2")
            .bind((&delivery.grant, &delivery.attempts, &at))
            .execute(self.writer())
            .await?;
        Ok(())
    }

    async fn end_logout(&self, delivery: &LogoutDelivery) -> Result<bool, StorageError> {
        let ended = sql("DELETE FROM logout_deliveries WHERE grant_id = $1")
            .bind(&delivery.grant)
            .execute(self.writer())
            .await?;
        Ok(ended == 1)
    }
}

/// Notes the sign-ins that end with the account `did` at the browser, or with all of its accounts; the
/// deliveries are the caller's. For whoever has just signed the account out, and nobody else.
pub(super) async fn note_sign_out(
    conn: &mut DbConnection,
    browser: RowId,
    did: Option<&Did>,
    now: Timestamp,
) -> Result<SignedOut, StorageError> {
    let did = did.cloned();
    // In the order of their ids, as whoever ends several grants locks them.
    let grants = sql(concat!(
        "SELECT g.id FROM grants g WHERE ",
        given_in_browser!("$2"),
        " ORDER BY g.id",
        for_update!()
    ))
    .bind((&browser, &did))
    .all(&mut *conn)
    .await?;
    if grants.is_empty() {
        return Ok(SignedOut::default());
    }
    let opened = sql(concat!(
        "SELECT g.id, c.frontchannel_logout_uri, c.frontchannel_logout_session_required
         FROM grants g JOIN clients c ON c.id = g.client_id
         WHERE c.frontchannel_logout_uri IS NOT NULL AND ",
        given_in_browser!("$2"),
        " ORDER BY g.id DESC LIMIT $3"
    ))
    .bind((&browser, &did, &MAX_FRONT_CHANNEL_LOGOUTS))
    .all(&mut *conn)
    .await?;
    let claimed = sql(insert_deliveries!(given_in_browser!("$6")))
        .bind((&browser, &now, &(now + CLAIMED_FOR), &1_u32))
        .bind((&MAX_WAITING_PER_CLIENT, &did))
        .all(&mut *conn)
        .await?;
    sql("UPDATE grants SET browser_id = NULL
         WHERE browser_id = $1 AND (CAST($2 AS TEXT) IS NULL OR COALESCE(actor, did) = $2)")
    .bind((&browser, &did))
    .execute(&mut *conn)
    .await?;
    Ok(SignedOut {
        deliveries: readable(&claimed, read_delivery),
        front_channel: readable(&opened, read_front_channel),
    })
}

/// Notes the end of a grant, which is due at once, if the reason is one that its client is told of.
pub(super) async fn note_end_of_grant(
    conn: &mut DbConnection,
    grant: RowId,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<(), StorageError> {
    if reason.ends_the_sign_in() {
        sql(insert_deliveries!("g.id = $1"))
            .bind((&grant, &now, &now, &0_u32))
            .bind(&MAX_WAITING_PER_CLIENT)
            .all(conn)
            .await?;
    }
    Ok(())
}

/// Likewise for the grants that ended with a session just now.
pub(super) async fn note_end_of_session(
    conn: &mut DbConnection,
    session: RowId,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<(), StorageError> {
    if reason.ends_the_sign_in() {
        sql(insert_deliveries!(
            "g.upstream_session = $1 AND g.revoked_at = $2 AND g.revoke_reason = $6"
        ))
        .bind((&session, &now, &now, &0_u32))
        .bind((&MAX_WAITING_PER_CLIENT, &reason))
        .all(conn)
        .await?;
    }
    Ok(())
}

fn read_delivery(row: &Row) -> Result<LogoutDelivery, StorageError> {
    let fields = Fields::of("logout_deliveries", "grant_id", row)?;
    Ok(LogoutDelivery {
        grant: fields.get("grant_id")?,
        client_id: fields.get("client_id")?,
        subject: fields.get("did")?,
        attempts: fields.get("attempts")?,
    })
}

fn read_front_channel(row: &Row) -> Result<FrontChannelLogout, StorageError> {
    let fields = Fields::of("grants", "id", row)?;
    let uri: LogoutUri = fields.get("frontchannel_logout_uri")?;
    Ok(FrontChannelLogout {
        grant: fields.get("id")?,
        notification: LogoutNotification {
            uri,
            session_required: fields.get("frontchannel_logout_session_required")?,
        },
    })
}
