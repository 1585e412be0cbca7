//! Forgetting what is past its time, in small deletes along the index of each time column.

use std::time::Duration;

use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::housekeeping::{Housekeeping, PurgeReport, RetentionClass};
use async_trait::async_trait;
use strum::IntoEnumIterator as _;

use super::Store;
use super::revoke::revoke_grant;
use super::sql::{Fields, readable, sql, unavailable};

#[async_trait]
impl Housekeeping for Store {
    async fn purge_expired(&self, now: Timestamp, batch: u32) -> Result<PurgeReport, StorageError> {
        let mut purged = PurgeReport {
            counts: Vec::new(),
            more: false,
        };
        for kind in RetentionClass::iter() {
            let before = now - kind.kept_for();
            let count = sql(statement(kind))
                .bind(&before)
                .bind(&batch)
                .execute(self.writer())
                .await?;
            purged.more |= count >= u64::from(batch);
            purged.counts.push((kind, count));
        }
        Ok(purged)
    }

    async fn end_expired_grants(
        &self,
        before: Timestamp,
        now: Timestamp,
        batch: u32,
    ) -> Result<u64, StorageError> {
        // Looked for outside the transaction, so that nobody waits meanwhile. What is found stays
        // as it is: codes and refresh tokens that could change it have expired.
        let rows = sql("SELECT g.id FROM grants g
             WHERE g.revoked_at IS NULL AND g.created_at < $1
                 AND g.id IN (SELECT r.grant_id FROM refresh_tokens r WHERE r.expires_at <= $2
                     UNION SELECT c.grant_id FROM codes c
                     WHERE c.expires_at <= $2 AND c.spent_at IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM refresh_tokens r
                     WHERE r.grant_id = g.id AND r.expires_at > $2)
             ORDER BY g.id LIMIT $3")
        .bind(&before)
        .bind(&now)
        .bind(&batch)
        .all(self.reader())
        .await?;
        let mut ended = 0;
        if rows.is_empty() {
            return Ok(ended);
        }
        let mut tx = self.begin().await?;
        for id in readable(&rows, |row| Fields::of("grants", "id", row)?.get("id")) {
            ended += u64::from(revoke_grant(&mut tx, id, RevokeReason::Expired, now).await?);
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(ended)
    }

    async fn acquire_leadership(
        &self,
        task: &str,
        owner: &str,
        length: Duration,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let leads = sql(concat!(
            "INSERT INTO leaders (task, owner, lead_until) VALUES ($1, $2, $3 + ",
            database_now!("$4"),
            ") ON CONFLICT (task) DO UPDATE SET
                 owner = excluded.owner, lead_until = excluded.lead_until
             WHERE leaders.owner = excluded.owner OR leaders.lead_until < ",
            database_now!("$4")
        ))
        .bind(&task.to_owned())
        .bind(&owner.to_owned())
        .bind(&length)
        .bind(&now)
        .execute(self.writer())
        .await?;
        Ok(leads == 1)
    }

    async fn ping(&self) -> Result<(), StorageError> {
        sql("SELECT 1").all(self.reader()).await.map(drop)
    }
}

/// Deletes up to `$2` rows whose time came before `$1`.
fn statement(kind: RetentionClass) -> &'static str {
    match kind {
        RetentionClass::AuthorizationRequests => {
            "DELETE FROM authorization_requests WHERE token IN
                 (SELECT token FROM authorization_requests WHERE expires_at <= $1 LIMIT $2)"
        }
        RetentionClass::AnsweredRequests => {
            "DELETE FROM answered_requests WHERE token IN
                 (SELECT token FROM answered_requests WHERE expires_at <= $1 LIMIT $2)"
        }
        RetentionClass::UpstreamFlows => {
            "DELETE FROM upstream_flows WHERE id IN
                 (SELECT id FROM upstream_flows WHERE expires_at <= $1 LIMIT $2)"
        }
        RetentionClass::Codes => {
            // What a live grant hangs from leads to it when it is over (`end_expired_grants`).
            "DELETE FROM codes WHERE hash IN
                 (SELECT c.hash FROM codes c WHERE c.expires_at <= $1
                      AND (c.spent_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM grants g
                          WHERE g.id = c.grant_id AND g.revoked_at IS NULL)) LIMIT $2)"
        }
        RetentionClass::AccessTokens => {
            "DELETE FROM access_tokens WHERE hash IN
                 (SELECT hash FROM access_tokens WHERE expires_at <= $1 LIMIT $2)"
        }
        RetentionClass::RefreshTokens => {
            "DELETE FROM refresh_tokens WHERE hash IN
                 (SELECT r.hash FROM refresh_tokens r WHERE r.expires_at <= $1
                      AND (r.successor IS NOT NULL OR NOT EXISTS (SELECT 1 FROM grants g
                          WHERE g.id = r.grant_id AND g.revoked_at IS NULL)) LIMIT $2)"
        }
        RetentionClass::Replays => {
            "DELETE FROM replays WHERE hash IN
                 (SELECT hash FROM replays WHERE expires_at <= $1 LIMIT $2)"
        }
        RetentionClass::BrowserSessions => {
            "DELETE FROM browser_sessions WHERE id IN
                 (SELECT id FROM browser_sessions WHERE expires_at <= $1 LIMIT $2)"
        }
        RetentionClass::Grants => {
            "DELETE FROM grants WHERE id IN
                 (SELECT id FROM grants WHERE revoked_at <= $1 LIMIT $2)"
        }
        RetentionClass::UpstreamSessions => {
            "DELETE FROM upstream_sessions WHERE id IN
                 (SELECT id FROM upstream_sessions
                  WHERE ended_at <= $1 AND revoke_due_at IS NULL LIMIT $2)"
        }
        RetentionClass::Nonces => {
            "DELETE FROM nonces WHERE (role, origin) IN
                 (SELECT role, origin FROM nonces WHERE given_at <= $1 LIMIT $2)"
        }
        RetentionClass::RateLimits => {
            "DELETE FROM rate_limits WHERE key IN
                 (SELECT key FROM rate_limits WHERE arrival <= $1 LIMIT $2)"
        }
        RetentionClass::AuditEvents => {
            "DELETE FROM audit_events WHERE id IN
                 (SELECT id FROM audit_events WHERE at <= $1 LIMIT $2)"
        }
    }
}
