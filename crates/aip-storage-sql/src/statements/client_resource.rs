//! Resource servers (RFC 8707) that are taken from a client: its grants are for them no longer.

use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientId};
use aip_storage::grant::RevokeReason;
use aip_storage::resource_uri::{ResourceList, ResourceUri};

use super::DbConnection;
use super::ending::lock_sessions;
use super::revoke::revoke_grant;
use super::sql::{Fields, Row, readable, sql};

/// A grant that is for resource servers.
struct GrantForResources {
    id: RowId,
    session: RowId,
    resources: ResourceList,
}

/// The resource servers that a client is registered for. Its row is held by a change of nothing: of two
/// changes at once the later one sees what the earlier one has added.
pub(super) async fn of_client(
    conn: &mut DbConnection,
    client: &ClientId,
) -> Result<ResourceList, StorageError> {
    let read = |row: &Row| {
        let fields = Fields::of("clients", "id", row)?;
        fields.get::<Option<ResourceList>>("resources")
    };
    let found = sql("UPDATE clients SET updated_at = updated_at
         WHERE id = $1 RETURNING id, resources")
    .bind(client)
    .one(conn, read)
    .await?;
    Ok(found.flatten().unwrap_or_default())
}

/// Takes resource servers from the live grants of a client, whose row the transaction has changed. A grant
/// that was for nothing else ends: a list of none would be AIP itself.
pub(super) async fn remove_from_grants(
    conn: &mut DbConnection,
    client: &Client,
    removed: &[&ResourceUri],
) -> Result<(), StorageError> {
    if removed.is_empty() {
        return Ok(());
    }
    let rows = sql("SELECT id, upstream_session, resources FROM grants
         WHERE client_id = $1 AND resources IS NOT NULL AND revoked_at IS NULL ORDER BY id")
    .bind(&client.id)
    .all(&mut *conn)
    .await?;
    let mut ended = Vec::new();
    let mut narrowed = Vec::new();
    for grant in readable(&rows, read_grant) {
        let remaining = grant.resources.without(removed);
        if remaining.is_empty() {
            ended.push(grant);
        } else if remaining != grant.resources {
            narrowed.push((grant.id, remaining));
        }
    }
    lock_sessions(conn, ended.iter().map(|it| it.session).collect()).await?;
    if !ended.is_empty() {
        // What ends with them, as delegates do it by them, is locked after all of them.
        sql(concat!(
            "SELECT COUNT(*) AS held FROM (SELECT id FROM grants
                 WHERE client_id = $1 AND revoked_at IS NULL ORDER BY parent_grant IS NOT NULL, id",
            for_update!(),
            ") locked"
        ))
        .bind(&client.id)
        .all(&mut *conn)
        .await?;
    }
    let mut changes: Vec<_> = ended.into_iter().map(|it| (it.id, None)).collect();
    changes.extend(
        narrowed
            .into_iter()
            .map(|(id, remaining)| (id, Some(remaining))),
    );
    changes.sort_unstable_by_key(|(id, _)| *id);
    for (id, remaining) in changes {
        if remaining.is_some() {
            sql("UPDATE grants SET resources = $2 WHERE id = $1")
                .bind((&id, &remaining))
                .execute(&mut *conn)
                .await?;
        } else {
            revoke_grant(conn, id, RevokeReason::ByOperator, client.updated_at).await?;
        }
    }
    Ok(())
}

fn read_grant(row: &Row) -> Result<GrantForResources, StorageError> {
    let fields = Fields::of("grants", "id", row)?;
    Ok(GrantForResources {
        id: fields.get("id")?,
        session: fields.get("upstream_session")?,
        resources: fields.get("resources")?,
    })
}
