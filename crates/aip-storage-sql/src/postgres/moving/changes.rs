//! The rows that were written since a move began, copied again by their keys.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::tables::Table;
use super::{MoveError, WRITE, Worker, begin, source, target};

/// Notes that are applied in one transaction.
pub(super) const BATCH_CHANGES: usize = 1000;

/// Applies some notes; how many. The row of a key is read as it is by now: either nobody has written it since,
/// or there is another note.
pub(super) async fn apply_batch(
    from: &mut Worker,
    to: &mut Worker,
    id: &str,
    tables: &[Table],
) -> Result<usize, MoveError> {
    let (ids, keys) = pending_changes(from, id).await.map_err(source)?;
    if ids.is_empty() {
        return Ok(0);
    }
    let mut rows = Vec::new();
    let mut read = begin(from, id, WRITE).await.map_err(source)?;
    for (relation, keys) in &keys {
        let Some(table) = tables.iter().find(|table| table.name == *relation) else {
            continue;
        };
        let keys = array(keys.iter().map(String::as_str));
        let current = rows_of(&mut read, table, &keys).await.map_err(source)?;
        rows.push((table, keys, current));
    }
    read.rollback().await.map_err(source)?;
    let mut write = to.begin(id).await.map_err(target)?;
    for (table, keys, current) in rows {
        replace(&mut write, table, keys, current)
            .await
            .map_err(target)?;
    }
    write.commit().await.map_err(target)?;
    let mut tx = from.begin(id).await.map_err(source)?;
    sqlx::query("DELETE FROM aip_move_changes WHERE id = ANY ($1)")
        .bind(&ids)
        .execute(&mut *tx)
        .await
        .map_err(source)?;
    tx.commit().await.map_err(source)?;
    Ok(ids.len())
}

type ChangedKeys = (Vec<i64>, BTreeMap<String, BTreeSet<String>>);

async fn pending_changes(from: &mut PgConnection, id: &str) -> Result<ChangedKeys, sqlx::Error> {
    let mut tx = begin(from, id, WRITE).await?;
    let rows = sqlx::query(
        "SELECT id, relation, key::text AS key FROM aip_move_changes ORDER BY id LIMIT $1",
    )
    .bind(i64::try_from(BATCH_CHANGES).unwrap_or(i64::MAX))
    .fetch_all(&mut *tx)
    .await?;
    tx.rollback().await?;
    let mut pending_changes = ChangedKeys::default();
    for row in rows {
        pending_changes.0.push(row.try_get("id")?);
        let keys = pending_changes
            .1
            .entry(row.try_get("relation")?)
            .or_default();
        keys.insert(row.try_get("key")?);
    }
    Ok(pending_changes)
}

/// The rows that have one of these keys, as a JSON array.
async fn rows_of(
    from: &mut PgConnection,
    table: &Table,
    keys: &str,
) -> Result<String, sqlx::Error> {
    let (name, has_key) = (table.quoted(), table.has_key());
    let select = format!("SELECT to_jsonb(t)::text AS row FROM {name} t WHERE {has_key}");
    let rows = sqlx::query(AssertSqlSafe(select))
        .bind(keys.to_owned())
        .fetch_all(from)
        .await?;
    let rows: Result<Vec<String>, sqlx::Error> =
        rows.iter().map(|row| row.try_get("row")).collect();
    Ok(array(rows?.iter().map(String::as_str)))
}

/// Puts `rows` in the place of all that have one of `keys`, and remembers the keys.
async fn replace(
    to: &mut PgConnection,
    table: &Table,
    keys: String,
    rows: String,
) -> Result<(), sqlx::Error> {
    let (name, columns, has_key) = (table.quoted(), table.column_list(), table.has_key());
    let delete = format!("DELETE FROM {name} WHERE {has_key}");
    let insert = format!(
        "INSERT INTO {name} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{name}, $1::jsonb)"
    );
    sqlx::query(AssertSqlSafe(delete))
        .bind(keys.clone())
        .execute(&mut *to)
        .await?;
    sqlx::query(AssertSqlSafe(insert))
        .bind(rows)
        .execute(&mut *to)
        .await?;
    sqlx::query(
        "INSERT INTO aip_move_keys (relation, key) SELECT $2, key FROM jsonb_array_elements($1::jsonb) AS key
            ON CONFLICT DO NOTHING",
    )
    .bind(keys)
    .bind(table.name.clone())
    .execute(to)
    .await?;
    Ok(())
}

pub(super) fn array<'a>(elements: impl Iterator<Item = &'a str>) -> String {
    let elements: Vec<&str> = elements.collect();
    format!("[{}]", elements.join(","))
}
