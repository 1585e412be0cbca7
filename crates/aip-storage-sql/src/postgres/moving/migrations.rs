//! Migrations and moves keep out of each other's way: what was copied has the schema that both sides had when the
//! move began.

use sqlx::{PgConnection, Row as _};

use crate::schema::SchemaError;
use crate::sql::unavailable;

/// Refuses to migrate a database that is the source or the target of a move, until the target is in use. Under
/// the lock of migrations, which a move takes when it marks its source. A table that is not there would end
/// the caller's transaction, so it is asked for first.
pub(in crate::postgres) async fn require_no_move(
    connection: &mut PgConnection,
    pending: &[i64],
) -> Result<(), SchemaError> {
    let row = sqlx::query("SELECT to_regclass('aip_move') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    let is_marked: bool = row.try_get(0).map_err(unavailable)?;
    if !is_marked {
        return Ok(());
    }
    let row = sqlx::query("SELECT state FROM aip_move")
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    let state: Option<String> = row
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(unavailable)?;
    let pending = pending.to_vec();
    match state.as_deref() {
        None | Some("live") => Ok(()),
        Some("moved") => Err(SchemaError::Moved { pending }),
        Some(_) => Err(SchemaError::Moving { pending }),
    }
}
