//! Delegations and the tokens by which delegates act.
//!
//! Whoever ends a delegation or a grant of a delegate waits for a token that is being stored, and then
//! sees it. The order of locks is that of `ending`.

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::audit::AuditEvent;
use aip_storage::delegation::{
    DelegatedToken, Delegation, DelegationEnd, DelegationForCall, DelegationStatus, Delegations,
    GiveDelegation, MAX_DELEGATIONS_OF_OWNER, MAX_EXCHANGED_TOKENS,
};
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::{EndReason, UpstreamSession};
use async_trait::async_trait;

use super::audit::{insert_event, read_event};
use super::ending::{end_live_grants, end_session};
use super::session_row::{Joined, insert_session, joined_session_columns, read_joined_session};
use super::sql::{Fields, Row, ids, readable, sql, unavailable};
use super::{DbConnection, Store};

const TABLE: &str = "delegations";

/// The columns of a delegation, under the alias `d`.
macro_rules! delegation_columns {
    () => {
        "d.id, d.owner, d.delegate, d.preset, d.scope, d.upstream_session, d.created_at, d.ends_at"
    };
}

#[async_trait]
impl Delegations for Store {
    async fn give_delegation(
        &self,
        delegation: &Delegation,
        session: &UpstreamSession,
        events: &[AuditEvent],
    ) -> Result<GiveDelegation, StorageError> {
        let now = delegation.created_at;
        let mut tx = self.begin().await?;
        // The account's row is the lock: two callers at once must not both insert.
        sql(concat!(
            "SELECT did FROM accounts WHERE did = $1",
            for_update!()
        ))
        .bind(&delegation.owner)
        .all(&mut *tx)
        .await?;
        let before = sql("SELECT id FROM delegations
             WHERE owner = $1 AND delegate = $2 AND ended_at IS NULL")
        .bind((&delegation.owner, &delegation.delegate))
        .all(&mut *tx)
        .await?;
        for id in ids(TABLE, &before) {
            end(&mut tx, id, DelegationEnd::Replaced, now).await?;
        }
        let live = sql("SELECT id FROM delegations
             WHERE owner = $1 AND ended_at IS NULL AND ends_at > $2 LIMIT $3")
        .bind((&delegation.owner, &now, &MAX_DELEGATIONS_OF_OWNER))
        .all(&mut *tx)
        .await?;
        if live.len() >= MAX_DELEGATIONS_OF_OWNER as usize {
            // What was ended above stays: the transaction is not committed.
            return Ok(GiveDelegation::Full);
        }
        insert_session(session).execute(&mut *tx).await?;
        sql("INSERT INTO delegations
                 (id, owner, delegate, preset, scope, upstream_session, created_at, ends_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(&delegation.id)
        .bind(&delegation.owner)
        .bind(&delegation.delegate)
        .bind(&delegation.preset)
        .bind(&delegation.scope)
        .bind(&delegation.upstream_session)
        .bind(&delegation.created_at)
        .bind(&delegation.ends_at)
        .execute(&mut *tx)
        .await?;
        for event in events {
            insert_event(&mut *tx, event).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(GiveDelegation::Given)
    }

    async fn delegations_of(
        &self,
        owner: &Did,
        now: Timestamp,
    ) -> Result<Vec<DelegationStatus>, StorageError> {
        let rows = sql(concat!(
            "SELECT s.state, ",
            delegation_columns!(),
            " FROM delegations d LEFT JOIN upstream_sessions s ON s.id = d.upstream_session
             WHERE d.owner = $1 AND d.ended_at IS NULL AND d.ends_at > $2
             ORDER BY d.created_at DESC, d.id DESC LIMIT $3"
        ))
        .bind((owner, &now, &MAX_DELEGATIONS_OF_OWNER))
        .all(self.reader())
        .await?;
        Ok(readable(&rows, |row| {
            Ok(DelegationStatus {
                delegation: read_delegation(row)?,
                session: Fields::of(TABLE, "id", row)?.get("state")?,
            })
        }))
    }

    async fn delegation_for_call(
        &self,
        owner: &Did,
        delegate: &Did,
        now: Timestamp,
    ) -> Result<Option<DelegationForCall>, StorageError> {
        let read = |row: &Row| {
            let session = read_joined_session(row, Joined::Own)?;
            let delegation = read_delegation(row)?;
            Ok(session.map(|session| DelegationForCall {
                delegation,
                session,
            }))
        };
        let found = sql(concat!(
            "SELECT ",
            delegation_columns!(),
            ", ",
            joined_session_columns!("s"),
            " FROM delegations d JOIN upstream_sessions s ON s.id = d.upstream_session
             WHERE d.owner = $1 AND d.delegate = $2 AND d.ended_at IS NULL AND d.ends_at > $3
                 AND s.state IN ('active', 'uncertain')"
        ))
        .bind((owner, delegate, &now))
        .one(self.reader(), read)
        .await?;
        Ok(found.flatten())
    }

    async fn end_delegation(
        &self,
        owner: &Did,
        id: RowId,
        reason: DelegationEnd,
        now: Timestamp,
        event: AuditEvent,
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let found = sql("SELECT id FROM delegations WHERE id = $1 AND owner = $2")
            .bind((&id, owner))
            .first(&mut *tx)
            .await?;
        let ended = found.is_some() && end(&mut tx, id, reason, now).await?;
        if ended {
            insert_event(&mut *tx, &event).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(ended)
    }

    async fn end_expired_delegations(
        &self,
        now: Timestamp,
        batch: u32,
    ) -> Result<u64, StorageError> {
        // Looked for outside the transaction, so that nobody waits meanwhile.
        let rows = sql("SELECT id FROM delegations
             WHERE ended_at IS NULL AND ends_at <= $1 ORDER BY id LIMIT $2")
        .bind((&now, &batch))
        .all(self.reader())
        .await?;
        let mut ended = 0;
        for id in ids(TABLE, &rows) {
            // One at a time: the session of one must not be locked after the grants of another.
            let mut tx = self.begin().await?;
            ended += u64::from(end(&mut tx, id, DelegationEnd::Expired, now).await?);
            tx.commit().await.map_err(unavailable)?;
        }
        Ok(ended)
    }

    async fn put_delegated_token(&self, token: &DelegatedToken) -> Result<bool, StorageError> {
        let now = token.grant.created_at;
        let mut tx = self.begin().await?;
        // Whoever deletes the client begins with a change of its row, and must wait there: before it
        // holds the grants that are locked below.
        let client = sql(concat!(
            "SELECT id FROM clients WHERE id = $1",
            for_share!()
        ))
        .bind(&token.grant.client_id)
        .first(&mut *tx)
        .await?;
        let delegation = sql(concat!(
            "SELECT id FROM delegations WHERE id = $1 AND ended_at IS NULL AND ends_at > $2",
            for_update!()
        ))
        .bind((&token.delegation, &now))
        .first(&mut *tx)
        .await?;
        let parent = sql(concat!(
            "SELECT id FROM grants WHERE id = $1 AND revoked_at IS NULL",
            for_update!()
        ))
        .bind(&token.parent)
        .first(&mut *tx)
        .await?;
        if client.is_none() || delegation.is_none() || parent.is_none() {
            return Ok(false);
        }
        let known = sql("SELECT id FROM grants
             WHERE delegation_id = $1 AND parent_grant = $2 AND revoked_at IS NULL")
        .bind((&token.delegation, &token.parent))
        .all(&mut *tx)
        .await?;
        let grant = match ids("grants", &known).first() {
            Some(id) => *id,
            None => insert_grant(&mut tx, token).await?,
        };
        // Otherwise the token follows its grant, as the delegate's own does.
        let narrowed = token.audience.if_any();
        let narrowed = narrowed.filter(|it| *it != token.grant.resources);
        sql("INSERT INTO access_tokens
                 (hash, grant_id, client_id, scope, issued_at, expires_at, dpop_jkt, audience,
                  delegation_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(&token.access)
        .bind(&grant)
        .bind(&token.grant.client_id)
        .bind(&token.scope)
        .bind(&now)
        .bind(&token.expires_at)
        .bind(&token.dpop_jkt)
        .bind(&narrowed)
        .bind(&token.delegation)
        .execute(&mut *tx)
        .await?;
        forget_oldest(&mut tx, token).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(true)
    }

    async fn acts_of_delegates(
        &self,
        owner: &Did,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, StorageError> {
        let rows = sql(
            "SELECT id, at, kind, did, actor, client_id, detail FROM audit_events
             WHERE did = $1 AND actor IS NOT NULL ORDER BY at DESC, id DESC LIMIT $2",
        )
        .bind((owner, &limit))
        .all(self.reader())
        .await?;
        Ok(readable(&rows, read_event))
    }
}

/// The grant by which a delegate acts, with the event that tells of it. Its tokens have what they are bound
/// to in their own rows.
async fn insert_grant(
    conn: &mut DbConnection,
    token: &DelegatedToken,
) -> Result<RowId, StorageError> {
    let grant = &token.grant;
    sql("INSERT INTO grants
             (id, client_id, did, actor, scope, asked, upstream_session, auth_time, created_at,
              delegation_id, parent_grant, resources)
         VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $7, $8, $9,
             (SELECT resources FROM grants WHERE id = $9))")
    .bind(&grant.id)
    .bind(&grant.client_id)
    .bind(&grant.subject)
    .bind(&grant.actor)
    .bind(&grant.scope)
    .bind(&grant.upstream_session)
    .bind(&grant.created_at)
    .bind(&token.delegation)
    .bind(&token.parent)
    .execute(&mut *conn)
    .await?;
    insert_event(conn, &token.event).await?;
    Ok(grant.id)
}

/// Forgets the tokens that `token`, which is stored, is too many for. The delegation is held, so that the
/// number is exact.
async fn forget_oldest(
    conn: &mut DbConnection,
    token: &DelegatedToken,
) -> Result<(), StorageError> {
    sql(
        "DELETE FROM access_tokens WHERE hash IN (SELECT hash FROM access_tokens
             WHERE delegation_id = $1 AND client_id = $2 AND expires_at > $3 AND hash <> $4
             ORDER BY issued_at DESC, hash LIMIT 1000 OFFSET $5)",
    )
    .bind((&token.delegation, &token.grant.client_id))
    .bind(&token.grant.created_at)
    .bind((&token.access, &(MAX_EXCHANGED_TOKENS - 1)))
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a delegation with its tokens and its session. Whether it was live.
async fn end(
    conn: &mut DbConnection,
    id: RowId,
    reason: DelegationEnd,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let ended = sql("UPDATE delegations SET ended_at = $2, end_reason = $3
         WHERE id = $1 AND ended_at IS NULL RETURNING id, upstream_session")
    .bind((&id, &now, &reason))
    .first(&mut *conn)
    .await?;
    let Some(row) = ended else { return Ok(false) };
    // A delegation ends even if its row does not say what it used.
    let used = readable(&[row], |row| {
        Fields::of(TABLE, "id", row)?.get("upstream_session")
    });
    for session in used {
        end_session(conn, session, EndReason::DelegationEnded, now).await?;
    }
    sql(end_live_grants!("delegation_id = $1"))
        .bind((&id, &now, &RevokeReason::DelegationEnded))
        .execute(conn)
        .await?;
    Ok(true)
}

fn read_delegation(row: &Row) -> Result<Delegation, StorageError> {
    let fields = Fields::of(TABLE, "id", row)?;
    Ok(Delegation {
        id: fields.get("id")?,
        owner: fields.get("owner")?,
        delegate: fields.get("delegate")?,
        preset: fields.get("preset")?,
        scope: fields.get("scope")?,
        upstream_session: fields.get("upstream_session")?,
        created_at: fields.get("created_at")?,
        ends_at: fields.get("ends_at")?,
    })
}
