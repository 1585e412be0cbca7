//! How a grant lies in its row.

use aip_atproto::{Did, ScopeSet};
use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::grant::{Grant, Revoked};
use aip_storage::requested_claims::RequestedClaims;
use aip_storage::resource_uri::ResourceList;

use super::DbConnection;
use super::sql::{Fields, Row, sql};

/// The columns of a grant, under the alias `g`. `did` is the subject; without an actor, whom the
/// release before does not know, the subject acts.
macro_rules! grant_columns {
    () => {
        "g.id, g.client_id, g.did, g.actor, g.scope, g.asked, g.upstream_session, g.dpop_jkt, \
         g.authenticated_at, g.claims, g.resources, g.created_at, g.revoked_at, g.revoke_reason, \
         g.sector"
    };
}
pub(crate) use grant_columns;

/// The grant that a row just read refers to.
pub(crate) async fn existing(conn: &mut DbConnection, id: RowId) -> Result<Grant, StorageError> {
    let grant = sql(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants g WHERE g.id = $1"
    ))
    .bind(&id)
    .one(conn, read_grant)
    .await?;
    grant.ok_or_else(|| StorageError::Inconsistent {
        table: "grants",
        row: id.to_string(),
        what: "missing".to_owned(),
    })
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
    let subject: Did = fields.get("did")?;
    let actor: Option<Did> = fields.get("actor")?;
    let claims: Option<RequestedClaims> = fields.get("claims")?;
    let resources: Option<ResourceList> = fields.get("resources")?;
    Ok(Grant {
        id: fields.get("id")?,
        client_id: fields.get("client_id")?,
        actor: actor.unwrap_or_else(|| subject.clone()),
        subject,
        sector: fields.get("sector")?,
        asked: asked.unwrap_or_else(|| scope.clone()),
        scope,
        upstream_session: fields.get("upstream_session")?,
        dpop_jkt: fields.get("dpop_jkt")?,
        auth_time: fields.get("authenticated_at")?,
        claims: claims.unwrap_or_default(),
        resources: resources.unwrap_or_default(),
        created_at: fields.get("created_at")?,
        revoked,
    })
}
