//! Forgetting what is past its time, in small deletes along the index of each time column.

use std::time::Duration;

use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::housekeeping::{Housekeeping, PurgeReport, RetentionClass};
use async_trait::async_trait;
use strum::IntoEnumIterator as _;

use super::Store;
use super::ending::lock_sessions;
use super::revoke::{revoke_grants, sessions_of};
use super::sql::{ids, sql, unavailable};

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
                .bind((&before, &batch))
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
        let rows = sql("SELECT g.id, g.upstream_session FROM grants g
             WHERE g.revoked_at IS NULL AND g.created_at < $1
                 AND g.id IN (SELECT r.grant_id FROM refresh_tokens r WHERE r.expires_at <= $2
                     UNION SELECT c.grant_id FROM codes c
                     WHERE c.expires_at <= $2 AND c.spent_at IS NULL
                     UNION SELECT d.grant_id FROM device_codes d
                     WHERE d.expires_at <= $2 AND d.spent_at IS NULL
                     UNION SELECT t.grant_id FROM developer_tokens t WHERE t.expires_at <= $2)
                 AND NOT EXISTS (SELECT 1 FROM refresh_tokens r
                     WHERE r.grant_id = g.id AND r.expires_at > $2)
             ORDER BY g.id LIMIT $3")
        .bind((&before, &now, &batch))
        .all(self.reader())
        .await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        lock_sessions(&mut tx, sessions_of(&rows)).await?;
        let expired = ids("grants", &rows);
        let ended = revoke_grants(&mut tx, expired, RevokeReason::Expired, now).await?;
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
        .bind((&task.to_owned(), &owner.to_owned(), &length, &now))
        .execute(self.unfenced())
        .await?;
        Ok(leads == 1)
    }

    async fn ping(&self) -> Result<(), StorageError> {
        sql("SELECT 1").all(self.reader()).await.map(drop)
    }
}

/// The statement that deletes up to `$2` rows of `$table`, each named by `$key`, of those that
/// match the condition.
macro_rules! delete_batch {
    ($table:literal, $key:literal, $condition:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE (",
            $key,
            ") IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $condition,
            " LIMIT $2)"
        )
    };
}

/// Likewise for rows that others lock several of: those that are locked now are left to the next round,
/// so that the clean-up waits for nobody (`ending`). Materialized, so that they are chosen once.
macro_rules! delete_free_batch {
    ($table:literal, $key:literal, $condition:literal) => {
        concat!(
            "WITH doomed AS MATERIALIZED (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $condition,
            " LIMIT $2",
            skip_locked!(),
            ") DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " IN (SELECT ",
            $key,
            " FROM doomed)"
        )
    };
}

/// Deletes up to `$2` rows whose time came before `$1`.
fn statement(kind: RetentionClass) -> &'static str {
    match kind {
        RetentionClass::AuthorizationRequests => {
            delete_free_batch!("authorization_requests", "token", "expires_at <= $1")
        }
        RetentionClass::AnsweredRequests => {
            delete_batch!("answered_requests", "token", "expires_at <= $1")
        }
        RetentionClass::UpstreamFlows => {
            delete_batch!("upstream_flows", "id", "expires_at <= $1")
        }
        // What a live grant hangs from leads to it when it has ended (`end_expired_grants`).
        RetentionClass::Codes => delete_free_batch!(
            "codes",
            "hash",
            "expires_at <= $1 AND (spent_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM grants g
                 WHERE g.id = codes.grant_id AND g.revoked_at IS NULL))"
        ),
        RetentionClass::DeviceCodes => delete_free_batch!(
            "device_codes",
            "code",
            "expires_at <= $1 AND (spent_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM grants g
                 WHERE g.id = device_codes.grant_id AND g.revoked_at IS NULL))"
        ),
        RetentionClass::RefreshTokens => delete_batch!(
            "refresh_tokens",
            "hash",
            "expires_at <= $1 AND (successor IS NOT NULL OR NOT EXISTS (SELECT 1 FROM grants g
                 WHERE g.id = refresh_tokens.grant_id AND g.revoked_at IS NULL))"
        ),
        RetentionClass::AccessTokens => {
            delete_batch!("access_tokens", "hash", "expires_at <= $1")
        }
        RetentionClass::ClientTokens => {
            delete_batch!("client_tokens", "hash", "expires_at <= $1")
        }
        RetentionClass::Replays => delete_batch!("replays", "hash", "expires_at <= $1"),
        RetentionClass::BrowserSessions => {
            delete_free_batch!("browser_sessions", "id", "expires_at <= $1")
        }
        RetentionClass::InitialAccessTokens => {
            delete_batch!("initial_access_tokens", "id", "expires_at <= $1")
        }
        RetentionClass::DeveloperTokenOrders => {
            delete_batch!("developer_token_orders", "id", "expires_at <= $1")
        }
        RetentionClass::Grants => delete_free_batch!("grants", "id", "revoked_at <= $1"),
        RetentionClass::UpstreamSessions => {
            delete_free_batch!(
                "upstream_sessions",
                "id",
                "ended_at <= $1 AND revoke_due_at IS NULL"
            )
        }
        RetentionClass::Delegations => delete_batch!("delegations", "id", "ended_at <= $1"),
        // The path is that of the document of any app (`/oauth/upstream/clients/{file}`).
        RetentionClass::UpstreamDocuments => delete_batch!(
            "kept_upstream_documents",
            "client_id",
            "lost_at <= $1 AND NOT EXISTS (SELECT 1 FROM upstream_sessions s
                 WHERE s.client_id = kept_upstream_documents.client_id
                     AND s.upstream_client_id LIKE '%/oauth/upstream/clients/%')"
        ),
        RetentionClass::PausedAccounts => {
            delete_batch!("paused_accounts", "did", "paused_at <= $1")
        }
        RetentionClass::EventCursors => {
            delete_batch!("event_cursors", "source", "kept_at <= $1")
        }
        RetentionClass::AssertionKeys => {
            delete_batch!("assertion_keys", "client_id, jkt", "used_at <= $1")
        }
        RetentionClass::LogoutDeliveries => {
            delete_free_batch!("logout_deliveries", "grant_id", "ended_at <= $1")
        }
        RetentionClass::ImportedSessions => {
            delete_batch!("imported_sessions", "id", "seen_at <= $1")
        }
        RetentionClass::Nonces => delete_batch!("nonces", "role, origin", "given_at <= $1"),
        RetentionClass::RateLimits => delete_batch!("rate_limits", "key", "arrival <= $1"),
        RetentionClass::AuditEvents => delete_batch!("audit_events", "id", "at <= $1"),
    }
}
