//! Paused accounts, and the places in streams of events.

use aip_atproto::Did;
use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::account_events::AccountEvents;
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, readable, sql, unavailable};

/// Accounts that one statement looks for.
const ACCOUNTS: usize = 16;

/// The sessions of account `$1`. A session has no index by its account: grants and delegations lead
/// to it, and to the app password that serves all grants of its client and account.
macro_rules! sessions_of_account {
    () => {
        "SELECT upstream_session FROM grants WHERE did = $1 AND revoked_at IS NULL
         UNION SELECT upstream_session FROM delegations WHERE owner = $1 AND ended_at IS NULL
         UNION SELECT a.id FROM grants g JOIN upstream_sessions a
             ON a.client_id = g.client_id AND a.did = g.did AND a.kind = 'app_password'
             WHERE g.did = $1"
    };
}

#[async_trait]
impl AccountEvents for Store {
    async fn accounts_known(&self, dids: &[Did]) -> Result<Vec<Did>, StorageError> {
        let mut known = Vec::new();
        for some in dids.chunks(ACCOUNTS) {
            let mut statement = sql(
                "WITH asked (did) AS (VALUES (CAST($1 AS TEXT)), ($2), ($3), ($4), \
                 ($5), ($6), ($7), ($8), ($9), ($10), ($11), ($12), ($13), ($14), ($15), ($16))
                 SELECT DISTINCT did FROM asked
                 WHERE EXISTS (SELECT 1 FROM grants g
                         WHERE g.did = asked.did AND g.revoked_at IS NULL)
                     OR EXISTS (SELECT 1 FROM delegations d
                         WHERE d.owner = asked.did AND d.ended_at IS NULL)
                     OR EXISTS (SELECT 1 FROM paused_accounts p WHERE p.did = asked.did)",
            );
            for at in 0..ACCOUNTS {
                statement = statement.bind(&some.get(at).map(ToString::to_string));
            }
            let rows = statement.all(self.reader()).await?;
            known.extend(dids_of(&rows));
        }
        Ok(known)
    }

    async fn pause_account(
        &self,
        did: &Did,
        status: &str,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        sql(
            "INSERT INTO paused_accounts (did, status, paused_at) VALUES ($1, $2, $3)
             ON CONFLICT (did) DO UPDATE SET
                 status = excluded.status, paused_at = excluded.paused_at",
        )
        .bind((did, &status.to_owned(), &now))
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn resume_account(
        &self,
        did: &Did,
        overdue: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let paused = sql("DELETE FROM paused_accounts WHERE did = $1")
            .bind(did)
            .execute(&mut *tx)
            .await?;
        if paused > 0 {
            // In the order of their ids (see `ending`): an account may have many.
            sql(concat!(
                "WITH put_off AS MATERIALIZED (SELECT s.id FROM upstream_sessions s
                     WHERE s.state IN ('active', 'uncertain') AND s.next_refresh_at > $3
                         AND (s.refreshed_at <= $2 OR s.failures > 0) AND s.id IN (",
                sessions_of_account!(),
                ") ORDER BY s.id",
                for_update!(),
                ") UPDATE upstream_sessions SET next_refresh_at = $3
                 WHERE id IN (SELECT id FROM put_off)"
            ))
            .bind((did, &overdue, &now))
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(paused > 0)
    }

    async fn paused_accounts(
        &self,
        after: Option<&Did>,
        limit: u32,
    ) -> Result<Vec<Did>, StorageError> {
        let rows = sql("SELECT did FROM paused_accounts
             WHERE CAST($1 AS TEXT) IS NULL OR did > $1 ORDER BY did LIMIT $2")
        .bind((&after.cloned(), &limit))
        .all(self.reader())
        .await?;
        Ok(dids_of(&rows))
    }

    async fn event_cursor(&self, source: &str) -> Result<Option<i64>, StorageError> {
        let read = |row: &Row| Fields::of("event_cursors", "source", row)?.get("cursor");
        sql("SELECT source, cursor FROM event_cursors WHERE source = $1")
            .bind(&source.to_owned())
            .one(self.reader(), read)
            .await
    }

    async fn keep_event_cursor(
        &self,
        source: &str,
        cursor: i64,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        sql(
            "INSERT INTO event_cursors (source, cursor, kept_at) VALUES ($1, $2, $3)
             ON CONFLICT (source) DO UPDATE SET
                 cursor = excluded.cursor, kept_at = excluded.kept_at",
        )
        .bind((&source.to_owned(), &cursor, &now))
        .execute(self.writer())
        .await?;
        Ok(())
    }
}

fn dids_of(rows: &[Row]) -> Vec<Did> {
    readable(rows, |row| {
        Fields::of("paused_accounts", "did", row)?.get("did")
    })
}
