//! What an operator's commands ask: [`Operations`](aip_storage::operations::Operations).

use aip_base::Timestamp;
use aip_keys::Sealed;
use aip_storage::StorageError;
use aip_storage::operations::{ClientKeyUse, KeyCheck, Operations, SealedColumn, SealedValue};
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, sql, unavailable};

/// The statements on one sealed column. An empty text is a value that was forgotten on purpose.
struct ColumnSql {
    any: &'static str,
    with_other_prefix: &'static str,
    count: &'static str,
    reseal: &'static str,
}

macro_rules! column_sql {
    ($table:literal, $column:literal) => {
        ColumnSql {
            any: concat!(
                "SELECT id, ",
                $column,
                " AS sealed FROM ",
                $table,
                " WHERE ",
                $column,
                " <> '' ORDER BY id DESC LIMIT 1"
            ),
            with_other_prefix: concat!(
                "SELECT id, ",
                $column,
                " AS sealed FROM ",
                $table,
                " WHERE id > $2 AND ",
                $column,
                " <> '' AND substr(",
                $column,
                ", 1, length($1)) <> $1 ORDER BY id LIMIT $3"
            ),
            count: concat!(
                "SELECT 'all' AS id, COUNT(*) AS number FROM ",
                $table,
                " WHERE substr(",
                $column,
                ", 1, length($1)) = $1"
            ),
            reseal: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = $3 WHERE id = $1 AND ",
                $column,
                " = $2"
            ),
        }
    };
}

fn column_sql(column: SealedColumn) -> ColumnSql {
    match column {
        SealedColumn::FlowSecrets => column_sql!("upstream_flows", "sealed"),
        SealedColumn::DpopKey => column_sql!("upstream_sessions", "dpop_key"),
        SealedColumn::AccessToken => column_sql!("upstream_sessions", "access_token"),
        SealedColumn::RefreshToken => column_sql!("upstream_sessions", "refresh_token"),
        SealedColumn::AppPassword => column_sql!("upstream_sessions", "password"),
        SealedColumn::SigningKeys => column_sql!("signing_key_sets", "sealed"),
        SealedColumn::HeldDpopKey => column_sql!("imported_sessions", "dpop_key"),
        SealedColumn::HeldAccessToken => column_sql!("imported_sessions", "access_token"),
        SealedColumn::HeldRefreshToken => column_sql!("imported_sessions", "refresh_token"),
        SealedColumn::HeldAppPassword => column_sql!("imported_sessions", "password"),
    }
}

#[async_trait]
impl Operations for Store {
    async fn database_time(&self, now: Timestamp) -> Result<Timestamp, StorageError> {
        let read = |row: &Row| Fields::of("the clock", "id", row)?.get("now");
        let there = sql(concat!(
            "SELECT 'clock' AS id, ",
            database_now!("$1"),
            " AS now"
        ))
        .bind(&now)
        .one(self.reader(), read)
        .await?;
        Ok(there.unwrap_or(now))
    }

    async fn key_check(&self) -> Result<Option<KeyCheck>, StorageError> {
        sql("SELECT name, sealed, pepper FROM key_checks")
            .one(self.reader(), read_check)
            .await
    }

    async fn begin_key_check(&self, check: &KeyCheck) -> Result<bool, StorageError> {
        let written = sql(
            "INSERT INTO key_checks (name, sealed, pepper) VALUES ('database', $1, $2)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind((&check.sealed, &check.pepper))
        .execute(self.writer())
        .await?;
        Ok(written == 1)
    }

    async fn renew_key_check(&self, old: &Sealed, check: &Sealed) -> Result<bool, StorageError> {
        let written = sql("UPDATE key_checks SET sealed = $2 WHERE sealed = $1")
            .bind((old, check))
            .execute(self.writer())
            .await?;
        Ok(written == 1)
    }

    async fn client_key_uses(&self) -> Result<Vec<ClientKeyUse>, StorageError> {
        let rows = sql(
            "SELECT client_key_id, COUNT(*) AS sessions, MAX(created_at) AS newest
             FROM (SELECT client_key_id, created_at FROM upstream_sessions
                     WHERE state IN ('active', 'uncertain') OR revoke_due_at IS NOT NULL
                 UNION ALL SELECT client_key_id, created_at FROM imported_sessions
                 UNION ALL SELECT client_key_id, created_at FROM assertion_keys) AS live
             WHERE client_key_id IS NOT NULL
             GROUP BY client_key_id ORDER BY client_key_id",
        )
        .all(self.reader())
        .await?;
        let read = |row| {
            let fields = Fields::of("upstream_sessions", "client_key_id", row)?;
            Ok(ClientKeyUse {
                kid: fields.get("client_key_id")?,
                sessions: fields.get("sessions")?,
                newest_began_at: fields.get("newest")?,
            })
        };
        rows.iter().map(read).collect()
    }

    async fn sample_sealed_value(
        &self,
        column: SealedColumn,
    ) -> Result<Option<SealedValue>, StorageError> {
        sql(column_sql(column).any)
            .one(self.reader(), |row| read_value(column, row))
            .await
    }

    async fn sealed_with_other_keys(
        &self,
        column: SealedColumn,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<SealedValue>, StorageError> {
        let rows = sql(column_sql(column).with_other_prefix)
            .bind((&prefix.to_owned(), &after.to_owned(), &limit))
            .all(self.reader())
            .await?;
        rows.iter().map(|row| read_value(column, row)).collect()
    }

    async fn count_sealed(&self, column: SealedColumn, prefix: &str) -> Result<u64, StorageError> {
        let read = |row: &Row| Fields::of(column.table(), "id", row)?.get("number");
        let count = sql(column_sql(column).count)
            .bind(&prefix.to_owned())
            .one(self.reader(), read)
            .await?;
        Ok(count.unwrap_or(0))
    }

    async fn reseal(
        &self,
        column: SealedColumn,
        values: &[(SealedValue, Sealed)],
    ) -> Result<u64, StorageError> {
        let mut tx = self.begin().await?;
        let mut written = 0;
        for (old, fresh) in values {
            written += sql(column_sql(column).reseal)
                .bind((&old.row, &old.sealed, fresh))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(written)
    }
}

fn read_check(row: &Row) -> Result<KeyCheck, StorageError> {
    let fields = Fields::of("key_checks", "name", row)?;
    Ok(KeyCheck {
        sealed: fields.get("sealed")?,
        pepper: fields.get("pepper")?,
    })
}

fn read_value(column: SealedColumn, row: &Row) -> Result<SealedValue, StorageError> {
    let fields = Fields::of(column.table(), "id", row)?;
    Ok(SealedValue {
        row: fields.get("id")?,
        sealed: fields.get("sealed")?,
    })
}
