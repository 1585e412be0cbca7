//! Clients that registered themselves, and initial access tokens.

use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientId, CreateClient};
use aip_storage::client_registration::{
    Admission, ChangeRegistration, ChangedRegistration, ClientRegistrations, InitialAccessToken,
    NewRegistration, RegisterClient,
};
use async_trait::async_trait;

use super::client::{client_columns, insert_client, read_client, remove_client, write_client};
use super::client_document;
use super::sql::{Fields, Row, readable, sql, unavailable};
use super::{DbConnection, Store, upstream_document};

/// Registrations wait for each other at this row, so that their number is exact.
const QUEUE: &str = "client registration";

#[async_trait]
impl ClientRegistrations for Store {
    async fn put_initial_token(&self, token: &InitialAccessToken) -> Result<(), StorageError> {
        sql(
            "INSERT INTO initial_access_tokens (id, token, uses_left, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind((&token.id, &token.token, &token.uses_left))
        .bind((&token.created_at, &token.expires_at))
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn initial_tokens(&self) -> Result<Vec<InitialAccessToken>, StorageError> {
        let rows = sql("SELECT id, token, uses_left, created_at, expires_at
             FROM initial_access_tokens ORDER BY created_at, id")
        .all(self.reader())
        .await?;
        Ok(readable(&rows, read_initial_token))
    }

    async fn admits(&self, token: &TokenHash, now: Timestamp) -> Result<bool, StorageError> {
        let found = sql("SELECT id FROM initial_access_tokens
             WHERE token = $1 AND uses_left > 0 AND expires_at > $2")
        .bind((token, &now))
        .first(self.reader())
        .await?;
        Ok(found.is_some())
    }

    async fn delete_initial_token(&self, id: RowId) -> Result<bool, StorageError> {
        let deleted = sql("DELETE FROM initial_access_tokens WHERE id = $1")
            .bind(&id)
            .execute(self.writer())
            .await?;
        Ok(deleted == 1)
    }

    async fn register_client(
        &self,
        registration: &NewRegistration,
    ) -> Result<RegisterClient, StorageError> {
        let mut tx = self.begin().await?;
        let refused = register(&mut tx, registration).await?;
        if let Some(refused) = refused {
            return Ok(refused);
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(RegisterClient::Registered)
    }

    async fn own_registration(
        &self,
        id: &ClientId,
        token: &TokenHash,
    ) -> Result<Option<Client>, StorageError> {
        sql(concat!(
            "SELECT ",
            client_columns!(),
            " FROM clients JOIN client_registrations ON client_registrations.client_id = clients.id
             WHERE clients.id = $1 AND client_registrations.token = $2"
        ))
        .bind((id, token))
        .one(self.reader(), read_client)
        .await
    }

    async fn change_registration(
        &self,
        change: &ChangedRegistration,
    ) -> Result<ChangeRegistration, StorageError> {
        let client = &change.client;
        let mut tx = self.begin().await?;
        let presented = sql("UPDATE client_registrations SET token = $3
             WHERE client_id = $1 AND token = $2")
        .bind((&client.id, &change.token, &change.next_token))
        .execute(&mut *tx)
        .await?;
        if presented == 0 {
            return Ok(ChangeRegistration::Refused);
        }
        // Held until the end, so that no change of the operator's comes between and is written over.
        let unchanged = sql("UPDATE clients SET updated_at = $3 WHERE id = $1 AND updated_at = $2")
            .bind((&client.id, &change.read_at, &client.updated_at))
            .execute(&mut *tx)
            .await?;
        if !client.settings.own_upstream_document {
            upstream_document::keep(&mut tx, &client.id, client.updated_at).await?;
        }
        if unchanged == 0 || !write_client(&mut *tx, client).await? {
            return Ok(ChangeRegistration::ChangedMeanwhile);
        }
        if change.replaces_secret {
            sql("UPDATE clients SET secret_hash = $2 WHERE id = $1 AND secret_hash IS NOT NULL")
                .bind((&client.id, &client.secret_hash))
                .execute(&mut *tx)
                .await?;
        }
        if change.forgets_consents {
            sql("DELETE FROM consents WHERE client_id = $1")
                .bind(&client.id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(ChangeRegistration::Changed)
    }

    async fn delete_registration(
        &self,
        id: &ClientId,
        token: &TokenHash,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let presented = sql("DELETE FROM client_registrations WHERE client_id = $1 AND token = $2")
            .bind((id, token))
            .execute(&mut *tx)
            .await?;
        if presented == 0 || !remove_client(&mut tx, id, now).await? {
            return Ok(false);
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(true)
    }

    async fn delete_unused_clients(&self, now: Timestamp, batch: u32) -> Result<u64, StorageError> {
        let rows = sql(
            "SELECT client_id FROM client_registrations WHERE unused_until <= $1
             ORDER BY unused_until LIMIT $2",
        )
        .bind((&now, &batch))
        .all(self.reader())
        .await?;
        let unused = readable(&rows, |row| {
            Fields::of("client_registrations", "client_id", row)?.get::<ClientId>("client_id")
        });
        let mut deleted = 0;
        for id in unused {
            deleted += u64::from(self.delete_unused_client(&id, now).await?);
        }
        Ok(deleted)
    }

    async fn change_document_client(
        &self,
        client: &Client,
        forgets_consents: bool,
    ) -> Result<bool, StorageError> {
        client_document::change(self, client, forgets_consents).await
    }

    async fn hold_document(&self, id: &ClientId, until: Timestamp) -> Result<(), StorageError> {
        client_document::hold(self, id, until).await
    }

    async fn delete_unused_document_clients(
        &self,
        before: Timestamp,
        now: Timestamp,
        batch: u32,
    ) -> Result<u64, StorageError> {
        client_document::delete_unused(self, before, now, batch).await
    }
}

impl Store {
    /// Deletes a client that is unused, unless somebody has allowed it something meanwhile: who does
    /// so changes this row (`approve`), before or after it is deleted here.
    async fn delete_unused_client(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let unused = sql("DELETE FROM client_registrations
             WHERE client_id = $1 AND unused_until <= $2
                 AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client_id = $1)")
        .bind((id, &now))
        .execute(&mut *tx)
        .await?;
        if unused == 0 || !remove_client(&mut tx, id, now).await? {
            return Ok(false);
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(true)
    }
}

/// What stands against it, if anything; then the transaction must not be committed.
async fn register(
    conn: &mut DbConnection,
    registration: &NewRegistration,
) -> Result<Option<RegisterClient>, StorageError> {
    let NewRegistration { client, now, .. } = registration;
    sql(
        "INSERT INTO leaders (task, owner, lead_until) VALUES ($1, $1, $2)
         ON CONFLICT (task) DO UPDATE SET lead_until = excluded.lead_until",
    )
    .bind((&QUEUE.to_owned(), now))
    .execute(&mut *conn)
    .await?;
    if let Admission::Token(token) = &registration.admission {
        let spent = sql("UPDATE initial_access_tokens SET uses_left = uses_left - 1
             WHERE token = $1 AND uses_left > 0 AND expires_at > $2")
        .bind((token, now))
        .execute(&mut *conn)
        .await?;
        if spent == 0 {
            return Ok(Some(RegisterClient::NotAdmitted));
        }
    }
    if insert_client(&mut *conn, client).await? == CreateClient::Exists {
        return Ok(Some(RegisterClient::Exists));
    }
    let inserted = sql(
        "INSERT INTO client_registrations (client_id, token, unused_until)
         SELECT $1, $2, $3 WHERE (SELECT COUNT(*) FROM client_registrations) < $4",
    )
    .bind((&client.id, &registration.token))
    .bind((&registration.unused_until, &registration.max_clients))
    .execute(&mut *conn)
    .await?;
    Ok((inserted == 0).then_some(RegisterClient::Full))
}

fn read_initial_token(row: &Row) -> Result<InitialAccessToken, StorageError> {
    let fields = Fields::of("initial_access_tokens", "id", row)?;
    Ok(InitialAccessToken {
        id: fields.get("id")?,
        token: fields.get("token")?,
        uses_left: fields.get("uses_left")?,
        created_at: fields.get("created_at")?,
        expires_at: fields.get("expires_at")?,
    })
}
