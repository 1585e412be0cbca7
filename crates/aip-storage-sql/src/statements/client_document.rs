//! Clients that are known by a document at their id: kept once somebody allows them something, and
//! deleted when nothing is left of that.

use std::time::Duration;

use aip_atproto::Did;
use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientId, CreateClient};
use aip_storage::grant::DocumentClient;

use super::client::{insert_client, remove_client, write_client};
use super::sql::{Fields, readable, sql, unavailable};
use super::{DbConnection, Store};

/// How often an approval is noted in the row of its client. What depends on the newest change of all
/// clients is made anew at each.
const NOTE_EVERY: Duration = Duration::from_hours(24);

/// Whether a client is kept. Otherwise the transaction must not be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Kept,
    /// There are too many.
    Full,
    /// The operator has registered a client of that id meanwhile.
    Registered,
}

/// Keeps the client, in the transaction in which `account` allows it something.
///
/// The row is held until then, so that whoever deletes unused clients waits, and sees that it was
/// used. Transactions that keep two new clients at the same moment do not see each other: there may be
/// as many more than `max_clients` as there are connections.
pub(super) async fn keep(
    conn: &mut DbConnection,
    document: &DocumentClient,
    account: &Did,
    now: Timestamp,
) -> Result<Keep, StorageError> {
    let client = &document.client;
    // A second time when somebody else has kept it in between.
    for _ in 0..2 {
        let kept = sql("UPDATE clients
             SET updated_at = CASE WHEN updated_at < $3 THEN $2 ELSE updated_at END
             WHERE id = $1 AND from_document")
        .bind((&client.id, &now, &(now - NOTE_EVERY)))
        .execute(&mut *conn)
        .await?;
        if kept == 1 {
            return Ok(Keep::Kept);
        }
        if insert_client(&mut *conn, client).await? == CreateClient::Created {
            return Ok(if is_within_bounds(conn, document, account).await? {
                Keep::Kept
            } else {
                Keep::Full
            });
        }
    }
    Ok(Keep::Registered)
}

/// Whether the client, which is inserted, is not one too many. What the account allows it now is no
/// grant yet.
async fn is_within_bounds(
    conn: &mut DbConnection,
    document: &DocumentClient,
    account: &Did,
) -> Result<bool, StorageError> {
    let within = sql("SELECT 'all' AS id
         WHERE (SELECT COUNT(*) FROM clients WHERE from_document) <= $1
             AND (SELECT COUNT(*) FROM clients
                 WHERE from_document AND substr(id, 1, length($2)) = $2) <= $3
             AND (SELECT COUNT(*) FROM clients
                 WHERE from_document AND EXISTS (SELECT 1 FROM grants
                     WHERE grants.client_id = clients.id AND grants.did = $4)) < $5")
    .bind(&document.max_clients)
    .bind((&document.site, &document.max_clients_of_site))
    .bind((account, &document.max_clients_of_account))
    .first(conn)
    .await?;
    Ok(within.is_some())
}

/// Writes what the document of a client says now.
pub(super) async fn change(
    store: &Store,
    client: &Client,
    forgets_consents: bool,
) -> Result<bool, StorageError> {
    let mut tx = store.begin().await?;
    if !client.from_document || !write_client(&mut *tx, client).await? {
        return Ok(false);
    }
    if forgets_consents {
        sql("DELETE FROM consents WHERE client_id = $1")
            .bind(&client.id)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await.map_err(unavailable)?;
    Ok(true)
}

/// Notes until when what the document of a client said last holds.
pub(super) async fn hold(
    store: &Store,
    id: &ClientId,
    until: Timestamp,
) -> Result<(), StorageError> {
    sql("UPDATE clients SET document_holds_until = $2 WHERE id = $1 AND from_document")
        .bind((id, &until))
        .execute(store.writer())
        .await?;
    Ok(())
}

pub(super) async fn delete_unused(
    store: &Store,
    before: Timestamp,
    now: Timestamp,
    batch: u32,
) -> Result<u64, StorageError> {
    let rows = sql("SELECT id FROM clients
         WHERE from_document AND updated_at <= $1
             AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client_id = clients.id)
         ORDER BY updated_at LIMIT $2")
    .bind((&before, &batch))
    .all(store.reader())
    .await?;
    let unused = readable(&rows, |row| {
        Fields::of("clients", "id", row)?.get::<ClientId>("id")
    });
    let mut deleted = 0;
    for id in unused {
        deleted += u64::from(delete(store, &id, before, now).await?);
    }
    Ok(deleted)
}

/// Deletes a client that is unused, unless somebody has allowed it something meanwhile: who does so
/// changes this row (`keep`), before or after it is held here.
async fn delete(
    store: &Store,
    id: &ClientId,
    before: Timestamp,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let mut tx = store.begin().await?;
    let held = sql("UPDATE clients SET updated_at = updated_at
         WHERE id = $1 AND from_document AND updated_at <= $2
             AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client_id = $1)")
    .bind((id, &before))
    .execute(&mut *tx)
    .await?;
    if held == 0 || !remove_client(&mut tx, id, now).await? {
        return Ok(false);
    }
    tx.commit().await.map_err(unavailable)?;
    Ok(true)
}
