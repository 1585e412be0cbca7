//! Upstream sessions as operators and metrics see them.

use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::upstream::{SessionCounts, SessionFilter, UpstreamSession};

use super::Store;
use super::session_row::{read_session, session_columns};
use super::sql::{Fields, sql};

pub(super) async fn list(
    store: &Store,
    filter: &SessionFilter,
    after: Option<RowId>,
    limit: u32,
) -> Result<Vec<Result<UpstreamSession, StorageError>>, StorageError> {
    // A filter that is not set is NULL, whose type an engine must be told.
    let rows = sql(concat!(
        "SELECT ",
        session_columns!(),
        " FROM upstream_sessions
         WHERE id > $1 AND (CAST($2 AS TEXT) IS NULL OR state = $2)
             AND (CAST($3 AS TEXT) IS NULL OR did = $3)
             AND (CAST($4 AS TEXT) IS NULL OR client_id = $4)
         ORDER BY id LIMIT $5"
    ))
    .bind(&after.map_or_else(String::new, |id| id.to_string()))
    .bind(&filter.state)
    .bind(&filter.did)
    .bind(&filter.client_id)
    .bind(&limit)
    .all(store.reader())
    .await?;
    Ok(rows.iter().map(read_session).collect())
}

pub(super) async fn count(store: &Store, now: Timestamp) -> Result<SessionCounts, StorageError> {
    let rows = sql(
        "SELECT kind, state, COUNT(*) AS number FROM upstream_sessions
         GROUP BY kind, state ORDER BY kind, state",
    )
    .all(store.reader())
    .await?;
    let counts = rows.iter().map(|row| {
        let fields = Fields::of("upstream_sessions", "state", row)?;
        Ok((
            fields.get("kind")?,
            fields.get("state")?,
            fields.get("number")?,
        ))
    });
    let due = sql("SELECT id, next_refresh_at FROM upstream_sessions
         WHERE state IN ('active', 'uncertain') AND next_refresh_at <= $1
         ORDER BY next_refresh_at LIMIT 1")
    .bind(&now)
    .first(store.reader())
    .await?;
    let oldest_due = due
        .map(|row| Fields::of("upstream_sessions", "id", &row)?.get("next_refresh_at"))
        .transpose()?;
    Ok(SessionCounts {
        counts: counts.collect::<Result<_, StorageError>>()?,
        oldest_due,
    })
}
