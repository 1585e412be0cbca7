//! Upstream client documents of single apps, after the app has lost its own: kept as long as sessions
//! are bound to it, as their PDSs read it at each refresh and revocation.

use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::client::ClientId;

use super::sql::sql;
use super::{DbConnection, Store};

/// Notes that the client, if it has a document of its own, is about to lose it. Its row is held.
pub(super) async fn keep(
    conn: &mut DbConnection,
    client: &ClientId,
    now: Timestamp,
) -> Result<(), StorageError> {
    sql("INSERT INTO kept_upstream_documents (client_id, lost_at)
         SELECT id, $2 FROM clients WHERE id = $1 AND own_upstream_document
         ON CONFLICT (client_id) DO UPDATE SET lost_at = excluded.lost_at")
    .bind((client, &now))
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether one is kept for that client.
pub(super) async fn is_kept(store: &Store, client: &ClientId) -> Result<bool, StorageError> {
    let found = sql("SELECT client_id FROM kept_upstream_documents WHERE client_id = $1")
        .bind(client)
        .first(store.reader())
        .await?;
    Ok(found.is_some())
}
