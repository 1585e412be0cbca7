//! Clients that are known by a document at their id: kept once somebody allows them something, and
//! deleted when nothing is left of that.

use std::time::Duration;

use aip_atproto::Did;
use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientId, CreateClient};
use aip_storage::grant::DocumentClient;

use super::client::{insert_client, remove_client, write_client};
use super::sql::{Fields, Row, readable, sql, unavailable};
use super::{DbConnection, Store};

/// How often an approval is noted in the row of its client. What depends on the newest change of all
/// clients is made anew at each.
const REREAD_NOTE_INTERVAL: Duration = Duration::from_hours(24);

/// How many clients give their places up for a new one: more than one where several were kept at the same
/// moment.
pub(super) const MAX_EVICTIONS: usize = 5;

/// Whether a client is kept. Otherwise the transaction must not be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeepOutcome {
    Kept,
    /// The account allows too many clients something.
    Full,
    /// There are too many clients whose id begins with that: those of a site, or all.
    NeedsRoom(String),
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
) -> Result<KeepOutcome, StorageError> {
    let client = &document.client;
    // A second time when somebody else has kept it in between.
    for _ in 0..2 {
        let kept = sql("UPDATE clients
             SET updated_at = CASE WHEN updated_at < $3 THEN $2 ELSE updated_at END
             WHERE id = $1 AND from_document")
        .bind((&client.id, &now, &(now - REREAD_NOTE_INTERVAL)))
        .execute(&mut *conn)
        .await?;
        if kept == 1 {
            return Ok(KeepOutcome::Kept);
        }
        if insert_client(&mut *conn, client).await? == CreateClient::Created {
            return has_room(conn, document, account).await;
        }
    }
    Ok(KeepOutcome::Registered)
}

/// What there is too much of, with a client that is inserted.
struct ExceededLimits {
    /// Clients that the account allows something, of all sites or of this one.
    of_account: bool,
    /// Clients of the site.
    of_site: bool,
    /// Clients of all sites.
    of_all: bool,
}

/// Whether there is room for the client, which is inserted.
async fn has_room(
    conn: &mut DbConnection,
    document: &DocumentClient,
    account: &Did,
) -> Result<KeepOutcome, StorageError> {
    Ok(match bounds(conn, document, account).await? {
        ExceededLimits {
            of_account: true, ..
        } => KeepOutcome::Full,
        ExceededLimits { of_site: true, .. } => KeepOutcome::NeedsRoom(document.site.clone()),
        // Every address begins with nothing.
        ExceededLimits { of_all: true, .. } => KeepOutcome::NeedsRoom(String::new()),
        ExceededLimits { .. } => KeepOutcome::Kept,
    })
}

/// What the account allows the client now is no grant yet. Its grants that have ended do not count.
async fn bounds(
    conn: &mut DbConnection,
    document: &DocumentClient,
    account: &Did,
) -> Result<ExceededLimits, StorageError> {
    let read = |row: &Row| {
        let fields = Fields::of("clients", "id", row)?;
        let number = |name| fields.get::<u64>(name);
        Ok(ExceededLimits {
            of_account: number("allowed")? >= document.max_clients_of_account
                || number("allowed_of_site")? >= document.max_clients_of_account_at_site,
            of_site: number("of_site")? > document.max_clients_of_site,
            of_all: number("of_all")? > document.max_clients,
        })
    };
    let counted = sql("SELECT 'all' AS id, COUNT(*) AS of_all,
             COUNT(CASE WHEN is_of_site THEN 1 END) AS of_site,
             COUNT(CASE WHEN is_allowed THEN 1 END) AS allowed,
             COUNT(CASE WHEN is_of_site AND is_allowed THEN 1 END) AS allowed_of_site
         FROM (SELECT substr(id, 1, length($1)) = $1 AS is_of_site,
                 EXISTS (SELECT 1 FROM grants WHERE grants.client_id = clients.id
                     AND grants.did = $2 AND grants.revoked_at IS NULL) AS is_allowed
             FROM clients WHERE from_document) counted")
    .bind((&document.site, account))
    .one(conn, read)
    .await?;
    Ok(counted.unwrap_or(ExceededLimits {
        of_account: false,
        of_site: false,
        of_all: false,
    }))
}

/// Deletes the client of that site, other than `kept`, that was allowed something longest ago, of those that
/// nobody allows anything any more. Whether there is one. One that is to be notified of a logout is not yet done
/// with, nor is one with a session at a PDS, whose person is expected back, or with a person at its sign-in.
///
/// A transaction of its own, before that of the approval: what is locked of one client comes after what is
/// locked of the other (`ending`), and an approval cannot hold both in order.
pub(super) async fn evict_unused_client(
    store: &Store,
    kept: &ClientId,
    site: &str,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let mut tx = store.begin().await?;
    // One that is locked is being allowed something.
    let row = sql(concat!(
        "SELECT id FROM clients
         WHERE from_document AND id <> $1 AND substr(id, 1, length($2)) = $2
             AND NOT EXISTS (SELECT 1 FROM grants
                 WHERE grants.client_id = clients.id AND grants.revoked_at IS NULL)
             AND NOT EXISTS (SELECT 1 FROM logout_deliveries
                 WHERE logout_deliveries.client_id = clients.id)
             AND NOT EXISTS (SELECT 1 FROM upstream_sessions
                 WHERE upstream_sessions.client_id = clients.id AND state <> 'ended')
             AND NOT EXISTS (SELECT 1 FROM authorization_requests
                 WHERE authorization_requests.client_id = clients.id AND expires_at > $3)
         ORDER BY updated_at, id LIMIT 1",
        skip_locked!()
    ))
    .bind((kept, &site.to_owned(), &now))
    .first(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let id = Fields::of("clients", "id", &row)?.get::<ClientId>("id")?;
    // An approval or a sign-in that was stored while this one looked.
    let used = sql(
        "SELECT 1 FROM grants WHERE client_id = $1 AND revoked_at IS NULL
         UNION ALL
         SELECT 1 FROM upstream_sessions WHERE client_id = $1 AND state <> 'ended'",
    )
    .bind(&id)
    .first(&mut *tx)
    .await?;
    if used.is_some() || !remove_client(&mut tx, &id, now).await? {
        return Ok(false);
    }
    tx.commit().await.map_err(unavailable)?;
    Ok(true)
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
