//! How a grant lies in its row.

use aip_atproto::ScopeSet;
use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::grant::{Grant, Revoked};

use super::DbConnection;
use super::sql::{Fields, Row, sql};

/// The columns of a grant, under the alias `g`.
macro_rules! grant_columns {
    () => {
        "g.id, g.client_id, g.did, g.scope, g.asked, g.upstream_session, g.dpop_jkt, \
         g.authenticated_at, g.created_at, g.revoked_at, g.revoke_reason"
    };
}
pub(crate) use grant_columns;

/// The grant that a row just read refers to.
pub(crate) async fn existing(conn: &mut DbConnection, id: RowId) -> Result<Grant, StorageError> {
    let row = sql(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants g WHERE g.id = $1"
    ))
    .bind(&id)
    .first(conn)
    .await?;
    match row {
        Some(row) => read_grant(&row),
        None => Err(StorageError::Inconsistent {
            table: "grants",
            row: id.to_string(),
            what: "missing".to_owned(),
        }),
    }
}

pub(crate) fn read_grant(row: &Row) -> Result<Grant, StorageError> {
    let fields = Fields::of("grants", "id", row)?;
    let revoked = match (fields.get("revoked_at")?, fields.get("revoke_reason")?) {
        (Some(at), Some(reason)) => Some(Revoked { at, reason }),
        (None, None) => None,
        _ => return Err(fields.inconsistent("the end of a grant and its reason come together")),
    };
    let scope: ScopeSet = fields.get("scope")?;
    let asked: Option<ScopeSet> = fields.get("asked")?;
    Ok(Grant {
        id: fields.get("id")?,
        client_id: fields.get("client_id")?,
        did: fields.get("did")?,
        asked: asked.unwrap_or_else(|| scope.clone()),
        scope,
        upstream_session: fields.get("upstream_session")?,
        dpop_jkt: fields.get("dpop_jkt")?,
        auth_time: fields.get("authenticated_at")?,
        created_at: fields.get("created_at")?,
        revoked,
    })
}
