//! Registered apps.

use aip_base::Timestamp;
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientId, Clients, ClientsVersion, CreateClient};
use aip_storage::upstream::EndReason;
use async_trait::async_trait;

use super::Store;
use super::ending::end_session;
use super::sql::{Fields, Row, Sql, ids, readable, sql, unavailable};

/// The columns that [`read_client`] reads, of the table `clients` or of its alias in a join.
macro_rules! client_columns {
    () => {
        client_columns!("clients")
    };
    ($table:literal) => {
        client_columns!(@ $table id name application_type auth_method secret_hash redirect_uris
            scope require_pkce first_party id_token_alg access_token_ttl refresh_token_ttl
            refresh_grace updated_at post_logout_redirect_uris auth_method_pinned
            claims_in_id_token require_par; created_at)
    };
    (@ $table:literal $($column:ident)*; $last:ident) => {
        concat!($($table, ".", stringify!($column), ", ",)* $table, ".", stringify!($last))
    };
}
pub(super) use client_columns;

#[async_trait]
impl Clients for Store {
    async fn create_client(&self, client: &Client) -> Result<CreateClient, StorageError> {
        let insert = "INSERT INTO clients
                 (id, name, application_type, auth_method, redirect_uris, scope, require_pkce,
                  first_party, id_token_alg, access_token_ttl, refresh_token_ttl, refresh_grace,
                  updated_at, post_logout_redirect_uris, auth_method_pinned, claims_in_id_token,
                  require_par, secret_hash, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                 $18, $19)
             ON CONFLICT (id) DO NOTHING";
        let inserted = bind_changeable(sql(insert), client)
            .bind(&client.created_at)
            .execute(self.writer())
            .await?;
        Ok(if inserted == 1 {
            CreateClient::Created
        } else {
            CreateClient::Exists
        })
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StorageError> {
        sql(concat!(
            "SELECT ",
            client_columns!(),
            " FROM clients WHERE id = $1"
        ))
        .bind(id)
        .one(self.reader(), read_client)
        .await
    }

    async fn clients_version(&self) -> Result<ClientsVersion, StorageError> {
        let read = |row: &Row| {
            let fields = Fields::of("clients", "id", row)?;
            Ok(ClientsVersion {
                count: fields.get("n")?,
                changed_at: fields.get("changed_at")?,
            })
        };
        let version =
            sql("SELECT 'all' AS id, COUNT(*) AS n, MAX(updated_at) AS changed_at FROM clients")
                .one(self.reader(), read)
                .await?;
        Ok(version.unwrap_or(ClientsVersion {
            count: 0,
            changed_at: None,
        }))
    }

    async fn list_clients(&self) -> Result<Vec<Client>, StorageError> {
        let rows = sql(concat!("SELECT ", client_columns!(), " FROM clients"))
            .all(self.reader())
            .await?;
        let mut clients = readable(&rows, read_client);
        // Not `ORDER BY`: that would follow the collation of the database.
        clients.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(clients)
    }

    async fn update_client(&self, client: &Client) -> Result<bool, StorageError> {
        let updated = bind_changeable(
            sql("UPDATE clients SET
                     name = $2, application_type = $3, auth_method = $4, redirect_uris = $5,
                     scope = $6, require_pkce = $7, first_party = $8, id_token_alg = $9,
                     access_token_ttl = $10, refresh_token_ttl = $11, refresh_grace = $12,
                     updated_at = $13, post_logout_redirect_uris = $14,
                     auth_method_pinned = $15, claims_in_id_token = $16,
                     require_par = $17,
                     secret_hash = CASE WHEN $4 = 'none' THEN NULL
                         WHEN auth_method = 'none' THEN $18 ELSE secret_hash END
                 WHERE id = $1
                     AND ($4 = 'none' OR auth_method <> 'none' OR $18 IS NOT NULL)"),
            client,
        )
        .execute(self.writer())
        .await?;
        Ok(updated == 1)
    }

    async fn replace_client_secret(
        &self,
        id: &ClientId,
        secret: &TokenHash,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let replaced = sql("UPDATE clients SET secret_hash = $2, updated_at = $3
             WHERE id = $1 AND auth_method <> 'none'")
        .bind((id, secret, &now))
        .execute(self.writer())
        .await?;
        Ok(replaced == 1)
    }

    async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        // Grants, codes, consents and requests go with it (ON DELETE CASCADE); its tokens are dead
        // without their grant, and the clean-up removes them as they expire.
        //
        // Codes first, then their grants, as whoever redeems one does: the other way round the two
        // could wait for each other.
        sql("DELETE FROM codes WHERE client_id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let deleted = sql("DELETE FROM clients WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        if deleted == 0 {
            return Ok(false);
        }
        let sessions = sql("SELECT id FROM upstream_sessions
             WHERE client_id = $1 AND state <> 'ended' ORDER BY id")
        .bind(id)
        .all(&mut *tx)
        .await?;
        for session in ids("upstream_sessions", &sessions) {
            end_session(&mut tx, session, EndReason::ClientDeleted, now).await?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(true)
    }
}

/// Binds `$1` to `$18`: the id and every column that an update may change.
fn bind_changeable(statement: Sql, client: &Client) -> Sql {
    statement
        .bind(&client.id)
        .bind(&client.name)
        .bind(&client.application_type)
        .bind(&client.auth_method)
        .bind(&client.redirect_uris)
        .bind(&client.scope)
        .bind(&client.require_pkce)
        .bind(&client.first_party)
        .bind(&client.id_token_alg)
        .bind(&client.access_token_ttl)
        .bind(&client.refresh_token_ttl)
        .bind(&client.refresh_grace)
        .bind(&client.updated_at)
        .bind(&client.post_logout_redirect_uris)
        .bind(&client.auth_method_pinned)
        .bind(&client.claims_in_id_token)
        .bind(&client.require_par)
        .bind(&client.secret_hash)
}

pub(super) fn read_client(row: &Row) -> Result<Client, StorageError> {
    let fields = Fields::of("clients", "id", row)?;
    let client = Client {
        id: fields.get("id")?,
        name: fields.get("name")?,
        application_type: fields.get("application_type")?,
        auth_method: fields.get("auth_method")?,
        auth_method_pinned: fields.get("auth_method_pinned")?,
        secret_hash: fields.get("secret_hash")?,
        redirect_uris: fields.get("redirect_uris")?,
        post_logout_redirect_uris: fields.get("post_logout_redirect_uris")?,
        scope: fields.get("scope")?,
        require_pkce: fields.get("require_pkce")?,
        require_par: fields.get("require_par")?,
        first_party: fields.get("first_party")?,
        id_token_alg: fields.get("id_token_alg")?,
        claims_in_id_token: fields.get("claims_in_id_token")?,
        access_token_ttl: fields.get("access_token_ttl")?,
        refresh_token_ttl: fields.get("refresh_token_ttl")?,
        refresh_grace: fields.get("refresh_grace")?,
        created_at: fields.get("created_at")?,
        updated_at: fields.get("updated_at")?,
    };
    if client.is_confidential() == client.secret_hash.is_some() {
        Ok(client)
    } else {
        Err(fields.inconsistent("a client has a secret exactly when it is confidential"))
    }
}
