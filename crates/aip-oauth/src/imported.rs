//! Clients of another server whose place this one takes: under their old ids and secrets.

use aip_base::Timestamp;
use aip_storage::client::{Client, ClientId, ClientSettings, CreateClient};
use secrecy::{ExposeSecret as _, SecretString};

use crate::AuthorizationServer;
use crate::registration::RegistrationError;
use crate::upstream_scopes::UpstreamScopes;

/// A client as another server has it.
pub struct ImportedClient {
    /// Its id, which stays.
    pub id: ClientId,
    /// What it is registered with.
    pub settings: ClientSettings,
    /// Its secret there, which stays; `None` exactly if it authenticates without one.
    pub secret: Option<SecretString>,
    /// When it was registered there.
    pub created_at: Timestamp,
    /// When it was last changed there.
    pub updated_at: Timestamp,
}

/// What becomes of it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportClient {
    /// It was not here.
    New,
    /// It was changed there since it was last changed here.
    Changed,
    /// It was not changed there since it was last changed here: it stays as it is.
    Unchanged,
}

impl AuthorizationServer {
    /// Registers or changes a client as it is at another server. What an operator has allowed it here
    /// besides stays allowed, and what that server knows nothing of stays as it is. Without `write` only
    /// what would become of it is found out. `used` are the scopes of all clients so far, to which its own
    /// are added: so an import of many reads the others once.
    pub async fn import_client(
        &self,
        imported: ImportedClient,
        used: &mut UpstreamScopes,
        write: bool,
    ) -> Result<ImportClient, RegistrationError> {
        let ImportedClient {
            id,
            mut settings,
            secret,
            created_at,
            updated_at,
        } = imported;
        let here = self.storage.client(&id).await?;
        let there = settings.scope.clone();
        if let Some(here) = &here {
            if here.updated_at >= updated_at {
                return Ok(ImportClient::Unchanged);
            }
            settings = merged_with_current(settings, &here.settings);
        }
        let secret_hash = secret.map(|it| self.hasher.hash(it.expose_secret()));
        let checked = self.check_without_others(id, settings, secret_hash, created_at)?;
        used.take_imported(&there, &checked.settings.scope)?;
        let client = Client {
            updated_at,
            ..checked
        };
        match here {
            None if write => match self.storage.create_client(&client).await? {
                CreateClient::Created => Ok(ImportClient::New),
                CreateClient::Exists => Ok(ImportClient::Unchanged),
            },
            None => Ok(ImportClient::New),
            Some(here) => {
                if write {
                    self.change(&client, here).await?;
                }
                Ok(ImportClient::Changed)
            }
        }
    }

    async fn change(&self, client: &Client, here: Client) -> Result<(), RegistrationError> {
        let changed = Client {
            registered_itself: here.registered_itself,
            from_document: here.from_document,
            document_holds_until: here.document_holds_until,
            created_at: here.created_at,
            ..client.clone()
        };
        if !self.storage.update_client(&changed).await? {
            return Err(RegistrationError::Unknown(here.id));
        }
        if let Some(secret) = &client.secret_hash {
            self.storage
                .replace_client_secret(&client.id, secret, client.updated_at)
                .await?;
        }
        self.known_clients.forget(&client.id);
        Ok(())
    }
}

/// What another server says of a client, with what only this one knows of it.
fn merged_with_current(there: ClientSettings, here: &ClientSettings) -> ClientSettings {
    let both = here.scope.iter().chain(there.scope.iter());
    ClientSettings {
        scope: both.cloned().collect(),
        name: there.name,
        application_type: there.application_type,
        auth_method: there.auth_method,
        keys: there.keys,
        grant_types: there.grant_types,
        redirect_uris: there.redirect_uris,
        require_pkce: there.require_pkce || here.require_pkce,
        access_token_ttl: there.access_token_ttl,
        refresh_token_ttl: there.refresh_token_ttl,
        ..here.clone()
    }
}
