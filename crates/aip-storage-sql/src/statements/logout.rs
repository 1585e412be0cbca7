//! The ends of sign-ins, as apps are notified of them.

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::audit::AuditEvent;
use aip_storage::grant::RevokeReason;
use aip_storage::logout::{
    CLAIMED_FOR, FrontChannelLogout, LATEST_SIGN_INS, LogoutDeliveries, LogoutDelivery,
    LogoutNotification, LogoutUri, MAX_FRONT_CHANNEL_LOGOUTS,
    MAX_FRONT_CHANNEL_LOGOUTS_PER_ACCOUNT, MAX_WAITING_PER_CLIENT, SignedOut,
};
use async_trait::async_trait;

use super::audit::insert_event;
use super::sql::{Fields, Row, readable, sql, unavailable};
use super::{DbConnection, Store};

/// That AIP is to tell the client `c` of the end of the grant `g`, and has not noted it yet. Only a
/// sign-in with an `id_token` has a `sid` (OpenID Connect Core §3.1.2.1).
macro_rules! to_be_told {
    () => {
        "c.backchannel_logout_uri IS NOT NULL
         AND (' ' || g.scope || ' ') LIKE '% openid %'
         AND NOT EXISTS (SELECT 1 FROM logout_deliveries noted WHERE noted.grant_id = g.id)"
    };
}

/// Stores the deliveries for the grants `g` that match the condition, whose values begin with `$5`:
/// ended at `$1`, due at `$2`, tried `$3` times. Of each client the latest, until `$4` wait with those
/// that waited before; transactions of the same moment do not see each other's.
macro_rules! insert_deliveries {
    ($condition:expr) => {
        concat!(
            "INSERT INTO logout_deliveries (grant_id, client_id, did, ended_at, due_at, attempts)
             SELECT ended.id, ended.client_id, ended.did, $1, $2, $3
             FROM (SELECT g.id, g.client_id, g.did,
                     ROW_NUMBER() OVER (PARTITION BY g.client_id ORDER BY g.id DESC) AS place
                 FROM grants g JOIN clients c ON c.id = g.client_id
                 WHERE ",
            to_be_told!(),
            " AND ",
            $condition,
            ") ended
             WHERE ended.place + (SELECT COUNT(*) FROM logout_deliveries d
                 WHERE d.client_id = ended.client_id) <= $4
             ON CONFLICT (grant_id) DO NOTHING
             RETURNING grant_id, client_id, did, attempts, ended_at"
        )
    };
}

/// Counts, after such an insert, what it left out for each client because too much waits.
macro_rules! count_dropped {
    ($condition:expr) => {
        concat!(
            "SELECT g.client_id, COUNT(*) AS dropped
             FROM grants g JOIN clients c ON c.id = g.client_id
             WHERE ",
            to_be_told!(),
            " AND ",
            $condition,
            " GROUP BY g.client_id"
        )
    };
}

/// That the grant `g` was given in the browser, by that account unless that is NULL.
macro_rules! given_in_browser {
    ($browser:literal, $did:literal) => {
        concat!(
            "g.browser_id = ",
            $browser,
            " AND (CAST(",
            $did,
            " AS TEXT) IS NULL OR COALESCE(g.actor, g.did) = ",
            $did,
            ")"
        )
    };
}

/// Likewise, and that its app may still have the person signed in: that a grant has ended says nothing
/// of the app's own session, unless the app did it.
macro_rules! may_be_signed_in {
    ($browser:literal, $did:literal) => {
        concat!(
            given_in_browser!($browser, $did),
            " AND (g.revoked_at IS NULL OR g.revoke_reason <> 'by_client')"
        )
    };
}

/// Likewise, and that AIP has not told the app of the end (`RevokeReason::ends_the_sign_in`).
macro_rules! not_told_before {
    ($browser:literal, $did:literal) => {
        concat!(
            given_in_browser!($browser, $did),
            " AND (g.revoked_at IS NULL
                 OR g.revoke_reason IN ('expired', 'code_replayed', 'refresh_replayed',
                     'delegation_ended'))"
        )
    };
}

/// That the grant `g` ended with the session, at that time and for that reason.
macro_rules! ended_with_session {
    ($session:literal, $now:literal, $reason:literal) => {
        concat!(
            "g.upstream_session = ",
            $session,
            " AND g.revoked_at = ",
            $now,
            " AND g.revoke_reason = ",
            $reason
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
        // Materialized: otherwise PostgreSQL may look for what is due once more for each row. The limit
        // is of rows that could be locked: another claim at the same moment has its own.
        let rows = sql(concat!(
            "WITH placed AS MATERIALIZED (SELECT grant_id AS placed_id, ROW_NUMBER() OVER (
                     PARTITION BY client_id ORDER BY due_at, grant_id) AS place
                 FROM logout_deliveries WHERE due_at <= $1),
             due AS MATERIALIZED (SELECT grant_id FROM logout_deliveries
                 JOIN placed ON placed_id = grant_id
                 WHERE due_at <= $1 AND place <= $4
                 ORDER BY place, due_at, grant_id LIMIT $3",
            skip_locked!(),
            ") UPDATE logout_deliveries SET due_at = $2, attempts = attempts + 1
             WHERE due_at <= $1 AND grant_id IN (SELECT grant_id FROM due)
             RETURNING grant_id, client_id, did, attempts, ended_at"
        ))
        .bind((&now, &(now + CLAIMED_FOR), &limit, &share))
        .all(self.writer())
        .await?;
        Ok(readable(&rows, read_delivery))
    }

    async fn defer_logout(
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

    async fn end_logout(
        &self,
        delivery: &LogoutDelivery,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let ended = sql("DELETE FROM logout_deliveries WHERE grant_id = $1")
            .bind(&delivery.grant)
            .execute(&mut *tx)
            .await?;
        if ended == 1
            && let Some(event) = event
        {
            insert_event(&mut *tx, event).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(ended == 1)
    }
}

/// Locks the grants that were given in the browser, in the order of their ids, before accounts and
/// consents are (`ending`). Whether there are any.
pub(super) async fn hold_sign_ins(
    conn: &mut DbConnection,
    browser: RowId,
    did: Option<&Did>,
) -> Result<bool, StorageError> {
    let grants = sql(concat!(
        "SELECT g.id FROM grants g WHERE ",
        given_in_browser!("$1", "$2"),
        " ORDER BY g.id",
        for_update!()
    ))
    .bind((&browser, &did.cloned()))
    .all(conn)
    .await?;
    Ok(!grants.is_empty())
}

/// Notes the sign-ins that end with the account `did` at the browser, or with all of its accounts; the
/// deliveries are the caller's. For whoever has just signed the account out, and nobody else.
pub(super) async fn note_sign_out(
    conn: &mut DbConnection,
    browser: RowId,
    did: Option<&Did>,
    now: Timestamp,
) -> Result<SignedOut, StorageError> {
    // Again: some may have been given meanwhile.
    if !hold_sign_ins(conn, browser, did).await? {
        return Ok(SignedOut::default());
    }
    let did = did.cloned();
    end_unredeemed(conn, browser, did.as_ref(), now).await?;
    forget_older(conn, browser, did.as_ref()).await?;
    let opened = sql(concat!(
        "SELECT id, frontchannel_logout_uri, frontchannel_logout_session_required
         FROM (SELECT g.id, c.frontchannel_logout_uri, c.frontchannel_logout_session_required,
                 ROW_NUMBER() OVER (PARTITION BY g.client_id,
                         CASE WHEN c.frontchannel_logout_session_required THEN g.did END
                     ORDER BY g.id DESC) AS place
             FROM grants g JOIN clients c ON c.id = g.client_id
             WHERE c.frontchannel_logout_uri IS NOT NULL AND ",
        may_be_signed_in!("$1", "$2"),
        ") placed
         WHERE place = 1 OR (frontchannel_logout_session_required AND place <= $4)
         ORDER BY place, id DESC LIMIT $3"
    ))
    .bind((&browser, &did, &MAX_FRONT_CHANNEL_LOGOUTS))
    .bind(&MAX_FRONT_CHANNEL_LOGOUTS_PER_ACCOUNT)
    .all(&mut *conn)
    .await?;
    let claimed = sql(insert_deliveries!(not_told_before!("$5", "$6")))
        .bind((&now, &(now + CLAIMED_FOR), &1_u32))
        .bind((&MAX_WAITING_PER_CLIENT, &browser, &did))
        .all(&mut *conn)
        .await?;
    let dropped = sql(count_dropped!(not_told_before!("$1", "$2")))
        .bind((&browser, &did))
        .all(&mut *conn)
        .await?;
    report_dropped(&dropped);
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

/// Ends the grants whose code nobody has redeemed: whoever redeemed it later would sign the person in
/// with a `sid` that was notified of before. Whoever redeems it now waits for the lock of the grant, and is
/// refused. The clean-up ends their sessions if nobody else uses them.
async fn end_unredeemed(
    conn: &mut DbConnection,
    browser: RowId,
    did: Option<&Did>,
    now: Timestamp,
) -> Result<(), StorageError> {
    sql(concat!(
        "UPDATE grants SET revoked_at = $3, revoke_reason = $4, browser_id = NULL
         WHERE revoked_at IS NULL AND id IN (SELECT g.id
             FROM grants g JOIN codes ON codes.grant_id = g.id
             WHERE codes.spent_at IS NULL AND ",
        given_in_browser!("$1", "$2"),
        ")"
    ))
    .bind((&browser, &did.cloned(), &now, &RevokeReason::ByPerson))
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the browser from all but the latest sign-ins of each account at each client. Those whose end
/// the app was notified of already use up no place of the others.
async fn forget_older(
    conn: &mut DbConnection,
    browser: RowId,
    did: Option<&Did>,
) -> Result<(), StorageError> {
    sql(concat!(
        "UPDATE grants SET browser_id = NULL WHERE id IN (SELECT id
             FROM (SELECT g.id, ROW_NUMBER() OVER (PARTITION BY g.client_id, g.did,
                         (' ' || g.scope || ' ') LIKE '% openid %',
                         CASE WHEN ",
        not_told_before!("$1", "$2"),
        " THEN 1 ELSE 0 END
                     ORDER BY g.id DESC) AS place
                 FROM grants g WHERE ",
        may_be_signed_in!("$1", "$2"),
        ") placed WHERE place > $3)"
    ))
    .bind((&browser, &did.cloned(), &LATEST_SIGN_INS))
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes the end of a grant, which is due at once, if the reason is one that its client is notified of.
pub(super) async fn note_end_of_grant(
    conn: &mut DbConnection,
    grant: RowId,
    reason: RevokeReason,
    now: Timestamp,
) -> Result<(), StorageError> {
    if !reason.ends_the_sign_in() {
        return Ok(());
    }
    let stored = sql(insert_deliveries!("g.id = $5"))
        .bind((&now, &now, &0_u32))
        .bind((&MAX_WAITING_PER_CLIENT, &grant))
        .all(&mut *conn)
        .await?;
    if stored.is_empty() {
        let dropped = sql(count_dropped!("g.id = $1"));
        report_dropped(&dropped.bind(&grant).all(conn).await?);
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
    if !reason.ends_the_sign_in() {
        return Ok(());
    }
    sql(insert_deliveries!(ended_with_session!("$5", "$1", "$6")))
        .bind((&now, &now, &0_u32))
        .bind((&MAX_WAITING_PER_CLIENT, &session, &reason))
        .all(&mut *conn)
        .await?;
    let dropped = sql(count_dropped!(ended_with_session!("$1", "$2", "$3")))
        .bind((&session, &now, &reason))
        .all(conn)
        .await?;
    report_dropped(&dropped);
    Ok(())
}

/// Counts and logs the ends that no client is notified of, for each client.
fn report_dropped(rows: &[Row]) {
    for (client, dropped) in readable(rows, read_dropped) {
        metrics::counter!("aip_logout_deliveries_total", "outcome" => "dropped").increment(dropped);
        tracing::warn!(
            %client,
            dropped,
            "logout notifications dropped, too many are waiting for the client"
        );
    }
}

fn read_dropped(row: &Row) -> Result<(String, u64), StorageError> {
    let fields = Fields::of("clients", "client_id", row)?;
    Ok((fields.get("client_id")?, fields.get("dropped")?))
}

fn read_delivery(row: &Row) -> Result<LogoutDelivery, StorageError> {
    let fields = Fields::of("logout_deliveries", "grant_id", row)?;
    Ok(LogoutDelivery {
        grant: fields.get("grant_id")?,
        client_id: fields.get("client_id")?,
        subject: fields.get("did")?,
        ended_at: fields.get("ended_at")?,
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
