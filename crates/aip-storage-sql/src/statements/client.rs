//! Registered apps.

use aip_base::Timestamp;
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::{
    Client, ClientId, ClientSettings, Clients, ClientsVersion, CreateClient,
};
use aip_storage::logout::{LogoutNotification, LogoutUri};
use aip_storage::resource_uri::ResourceList;
use aip_storage::upstream::EndReason;
use async_trait::async_trait;

use super::ending::end_session;
use super::request::delete_requests;
use super::sql::{Fields, Row, Sql, ids, readable, sql, unavailable};
use super::{DbConnection, Driver, Store, client_resource, upstream_document};
use crate::client_settings::SettingsInJson;
use crate::sql::Executor;

/// The columns that [`read_client`] reads, of the table `clients` or of its alias in a join.
macro_rules! client_columns {
    () => {
        client_columns!("clients")
    };
    ($table:literal) => {
        client_columns!(@ $table id name application_type auth_method secret_hash redirect_uris
            scope require_pkce first_party id_token_alg access_token_ttl refresh_token_ttl
            refresh_grace updated_at post_logout_redirect_uris resources default_atproto_proxy
            backchannel_logout_uri backchannel_logout_session_required
            frontchannel_logout_uri frontchannel_logout_session_required
            own_upstream_document settings
            pairwise registered_itself from_document document_holds_until;
            created_at)
    };
    (@ $table:literal $($column:ident)*; $last:ident) => {
        concat!($($table, ".", stringify!($column), ", ",)* $table, ".", stringify!($last))
    };
}
pub(super) use client_columns;

#[async_trait]
impl Clients for Store {
    async fn create_client(&self, client: &Client) -> Result<CreateClient, StorageError> {
        if client.id.is_of_developer_tokens() {
            return Ok(CreateClient::Exists);
        }
        insert_client(self.writer(), client).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StorageError> {
        if id.is_of_developer_tokens() {
            return Ok(None);
        }
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

    async fn keeps_upstream_document(&self, id: &ClientId) -> Result<bool, StorageError> {
        upstream_document::is_kept(self, id).await
    }

    async fn list_clients(&self) -> Result<Vec<Client>, StorageError> {
        let rows = sql(concat!("SELECT ", client_columns!(), " FROM clients"))
            .all(self.reader())
            .await?;
        let mut clients = readable(&rows, read_client);
        clients.retain(|it| !it.id.is_of_developer_tokens());
        // Not `ORDER BY`: that would follow the collation of the database.
        clients.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(clients)
    }

    async fn update_client(&self, client: &Client) -> Result<bool, StorageError> {
        update_client(self, client, None).await
    }

    async fn update_client_as_read(
        &self,
        client: &Client,
        read_at: Timestamp,
    ) -> Result<bool, StorageError> {
        update_client(self, client, Some(read_at)).await
    }

    async fn replace_client_secret(
        &self,
        id: &ClientId,
        secret: &TokenHash,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let replaced = sql("UPDATE clients SET secret_hash = $2, updated_at = $3
             WHERE id = $1 AND secret_hash IS NOT NULL")
        .bind((id, secret, &now))
        .execute(self.writer())
        .await?;
        Ok(replaced == 1)
    }

    async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<bool, StorageError> {
        if id.is_of_developer_tokens() {
            return Ok(false);
        }
        let mut tx = self.begin().await?;
        // As whoever allows the client something does, before anything else is held (`approve`).
        sql("DELETE FROM client_registrations WHERE client_id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        if !remove_client(&mut tx, id, now).await? {
            return Ok(false);
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(true)
    }
}

/// [`Clients::update_client`], or [`Clients::update_client_as_read`] at that instant.
async fn update_client(
    store: &Store,
    client: &Client,
    read_at: Option<Timestamp>,
) -> Result<bool, StorageError> {
    if client.id.is_of_developer_tokens() {
        return Ok(false);
    }
    let mut tx = store.begin().await?;
    if let Some(read_at) = read_at {
        // Held until the end, so that no other change comes between and is written over.
        let unchanged = sql("UPDATE clients SET updated_at = $3 WHERE id = $1 AND updated_at = $2")
            .bind((&client.id, &read_at, &client.updated_at))
            .execute(&mut *tx)
            .await?;
        if unchanged == 0 {
            return Ok(false);
        }
    }
    let before = client_resource::of_client(&mut tx, &client.id).await?;
    if !client.settings.own_upstream_document {
        upstream_document::keep(&mut tx, &client.id, client.updated_at).await?;
    }
    if !write_client(&mut *tx, client).await? {
        return Ok(false);
    }
    let after = &client.settings.resources;
    let taken = before.iter().filter(|it| !after.contains(it.as_str()));
    let taken: Vec<_> = taken.collect();
    client_resource::remove_from_grants(&mut tx, client, &taken).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(true)
}

/// [`Clients::delete_client`], in a transaction that must not be committed at `false`. The
/// registration of the client, if it has one of its own, is deleted already.
pub(super) async fn remove_client(
    conn: &mut DbConnection,
    id: &ClientId,
    now: Timestamp,
) -> Result<bool, StorageError> {
    // Grants, codes and consents go with it (ON DELETE CASCADE); its tokens are dead without their
    // grant, and the clean-up removes them as they expire.
    //
    // Everything is locked in the order that `ending` has. The client itself by a change of nothing,
    // which lets those finish who give it a grant.
    let held = sql("UPDATE clients SET updated_at = updated_at WHERE id = $1")
        .bind(id)
        .execute(&mut *conn)
        .await?;
    if held == 0 {
        return Ok(false);
    }
    sql(delete_requests!("client_id = $1"))
        .bind(id)
        .execute(&mut *conn)
        .await?;
    sql(concat!(
        "SELECT id FROM upstream_sessions WHERE client_id = $1 AND state <> 'ended' ORDER BY id",
        for_update!()
    ))
    .bind(id)
    .all(&mut *conn)
    .await?;
    sql("DELETE FROM codes WHERE client_id = $1")
        .bind(id)
        .execute(&mut *conn)
        .await?;
    sql(concat!(
        "SELECT COUNT(*) AS held FROM (SELECT id FROM grants
             WHERE client_id = $1 ORDER BY parent_grant IS NOT NULL, id",
        for_update!(),
        ") locked"
    ))
    .bind(id)
    .all(&mut *conn)
    .await?;
    upstream_document::keep(conn, id, now).await?;
    let deleted = sql("DELETE FROM clients WHERE id = $1")
        .bind(id)
        .execute(&mut *conn)
        .await?;
    if deleted == 0 {
        return Ok(false);
    }
    // Those that came meanwhile. Nobody can allow them any more.
    sql(delete_requests!("client_id = $1"))
        .bind(id)
        .execute(&mut *conn)
        .await?;
    let sessions = sql("SELECT id FROM upstream_sessions
         WHERE client_id = $1 AND state <> 'ended' ORDER BY id")
    .bind(id)
    .all(&mut *conn)
    .await?;
    for session in ids("upstream_sessions", &sessions) {
        end_session(conn, session, EndReason::ClientDeleted, now).await?;
    }
    Ok(true)
}

/// [`Clients::create_client`], in a transaction or without.
pub(super) async fn insert_client(
    on: impl Executor<Driver>,
    client: &Client,
) -> Result<CreateClient, StorageError> {
    let insert = "INSERT INTO clients
             (id, name, application_type, auth_method, redirect_uris, scope, require_pkce,
              first_party, id_token_alg, access_token_ttl, refresh_token_ttl, refresh_grace,
              updated_at, post_logout_redirect_uris, resources, default_atproto_proxy,
              backchannel_logout_uri, backchannel_logout_session_required,
              frontchannel_logout_uri, frontchannel_logout_session_required,
              own_upstream_document, secret_hash, settings,
              registered_itself, created_at, from_document, document_holds_until, pairwise)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
             $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)
         ON CONFLICT (id) DO NOTHING";
    let inserted = bind_changeable(sql(insert), client)
        .bind(&client.registered_itself)
        .bind(&client.created_at)
        .bind(&client.from_document)
        .bind(&client.document_holds_until)
        .bind(&client.settings.pairwise)
        .execute(on)
        .await?;
    Ok(if inserted == 1 {
        CreateClient::Created
    } else {
        CreateClient::Exists
    })
}

/// [`Clients::update_client`], in a transaction or without.
pub(super) async fn write_client(
    on: impl Executor<Driver>,
    client: &Client,
) -> Result<bool, StorageError> {
    let updated = bind_changeable(
        sql(concat!(
            "UPDATE clients SET
                 name = $2, application_type = $3, auth_method = $4, redirect_uris = $5,
                 scope = $6, require_pkce = $7, first_party = $8, id_token_alg = $9,
                 access_token_ttl = $10, refresh_token_ttl = $11, refresh_grace = $12,
                 updated_at = $13, post_logout_redirect_uris = $14, resources = $15,
                 default_atproto_proxy = $16, backchannel_logout_uri = $17,
                 backchannel_logout_session_required = $18, frontchannel_logout_uri = $19,
                 frontchannel_logout_session_required = $20, own_upstream_document = $21,
                 settings = ",
            json_with!("settings", "$23"),
            ", document_holds_until = $25,
                 secret_hash = CASE WHEN $4 IN ('none', 'private_key_jwt') THEN NULL
                     ELSE COALESCE(secret_hash, $22) END
             WHERE id = $1 AND from_document = $24 AND ($4 IN ('none', 'private_key_jwt')
                 OR secret_hash IS NOT NULL OR $22 IS NOT NULL)"
        )),
        client,
    )
    .bind((&client.from_document, &client.document_holds_until))
    .execute(on)
    .await?;
    Ok(updated == 1)
}

/// Binds `$1` to `$23`: the id and every column that an update may change.
fn bind_changeable(statement: Sql, client: &Client) -> Sql {
    let settings = &client.settings;
    let uri = |told: &LogoutNotification| told.uri.clone();
    statement
        .bind(&client.id)
        .bind(&settings.name)
        .bind(&settings.application_type)
        .bind(&settings.auth_method)
        .bind(&settings.redirect_uris)
        .bind(&settings.scope)
        .bind(&settings.require_pkce)
        .bind(&settings.first_party)
        .bind(&settings.id_token_alg)
        .bind(&settings.access_token_ttl)
        .bind(&settings.refresh_token_ttl)
        .bind(&settings.refresh_grace)
        .bind(&client.updated_at)
        .bind(&settings.post_logout_redirect_uris)
        .bind(&settings.resources.if_any())
        .bind(&settings.default_atproto_proxy)
        .bind(&settings.backchannel_logout.as_ref().map(uri))
        .bind(&session_required(settings.backchannel_logout.as_ref()))
        .bind(&settings.frontchannel_logout.as_ref().map(uri))
        .bind(&session_required(settings.frontchannel_logout.as_ref()))
        .bind(&settings.own_upstream_document)
        .bind(&client.secret_hash)
        .bind(&SettingsInJson(settings.clone()))
}

fn session_required(notification: Option<&LogoutNotification>) -> bool {
    notification.is_some_and(|it| it.session_required)
}

fn notification(uri: Option<LogoutUri>, session_required: bool) -> Option<LogoutNotification> {
    uri.map(|uri| LogoutNotification {
        uri,
        session_required,
    })
}

pub(super) fn read_client(row: &Row) -> Result<Client, StorageError> {
    let fields = Fields::of("clients", "id", row)?;
    let in_json: Option<SettingsInJson> = fields.get("settings")?;
    let resources: Option<ResourceList> = fields.get("resources")?;
    let settings = ClientSettings {
        name: fields.get("name")?,
        application_type: fields.get("application_type")?,
        auth_method: fields.get("auth_method")?,
        redirect_uris: fields.get("redirect_uris")?,
        post_logout_redirect_uris: fields.get("post_logout_redirect_uris")?,
        backchannel_logout: notification(
            fields.get("backchannel_logout_uri")?,
            fields.get("backchannel_logout_session_required")?,
        ),
        frontchannel_logout: notification(
            fields.get("frontchannel_logout_uri")?,
            fields.get("frontchannel_logout_session_required")?,
        ),
        scope: fields.get("scope")?,
        require_pkce: fields.get("require_pkce")?,
        first_party: fields.get("first_party")?,
        id_token_alg: fields.get("id_token_alg")?,
        resources: resources.unwrap_or_default(),
        own_upstream_document: fields.get("own_upstream_document")?,
        pairwise: fields.get("pairwise")?,
        default_atproto_proxy: fields.get("default_atproto_proxy")?,
        access_token_ttl: fields.get("access_token_ttl")?,
        refresh_token_ttl: fields.get("refresh_token_ttl")?,
        refresh_grace: fields.get("refresh_grace")?,
        ..in_json.map(|it| it.0).unwrap_or_default()
    };
    let client = Client {
        id: fields.get("id")?,
        settings,
        secret_hash: fields.get("secret_hash")?,
        registered_itself: fields.get("registered_itself")?,
        from_document: fields.get("from_document")?,
        document_holds_until: fields.get("document_holds_until")?,
        created_at: fields.get("created_at")?,
        updated_at: fields.get("updated_at")?,
    };
    if client.settings.auth_method.uses_secret() == client.secret_hash.is_some() {
        Ok(client)
    } else {
        Err(fields.inconsistent("a client has a secret exactly when it authenticates with one"))
    }
}
