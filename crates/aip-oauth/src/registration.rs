//! Registering and changing clients: the rules that every way of registering shares.

use std::time::Duration;

use aip_atproto::{ScopeSet, for_upstream};
use aip_base::Timestamp;
use aip_keys::{TokenHash, TokenKind};
use aip_storage::StorageError;
use aip_storage::client::{
    ApplicationType, Client, ClientAuthMethod, ClientId, CreateClient, IdTokenAlg, RedirectUri,
};
use secrecy::SecretString;

use crate::AuthorizationServer;
use crate::redirect::{self, RedirectRefusal};

/// The most redirect URIs of one client.
const MAX_REDIRECTS: usize = 20;
/// The longest name.
const MAX_NAME: usize = 100;
/// The longest refresh grace (a longer one would keep stolen tokens alive).
const MAX_GRACE: Duration = Duration::from_mins(1);

/// What an operator says about a client.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The name shown to people.
    pub name: String,
    /// Server or device.
    pub application_type: ApplicationType,
    /// How it authenticates.
    pub auth_method: ClientAuthMethod,
    /// Where answers may go.
    pub redirect_uris: Vec<String>,
    /// Where browsers may go after a logout.
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask for at most.
    pub scope: ScopeSet,
    /// Whether an authorization without PKCE is refused.
    pub require_pkce: bool,
    /// The operator's own app: people are not asked.
    pub first_party: bool,
    /// How its `id_token`s are signed.
    pub id_token_alg: IdTokenAlg,
    /// Life of an access token.
    pub access_token_ttl: Duration,
    /// Life of a refresh token that is not used.
    pub refresh_token_ttl: Duration,
    /// How long a repeated refresh gets the same successor.
    pub refresh_grace: Duration,
}

/// Why a client is not registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// No usable redirect URI list.
    #[error("a client has 1 to {MAX_REDIRECTS} redirect URIs; this one has {0}")]
    RedirectCount(usize),
    /// A redirect URI that must not be registered.
    #[error("redirect URI {0}")]
    Redirect(#[from] RedirectRefusal),
    /// No usable name.
    #[error("a client's name has 1 to {MAX_NAME} characters, none of them a control character")]
    Name,
    /// Public clients without PKCE are open to code interception.
    #[error("a public client must use PKCE")]
    PublicWithoutPkce,
    /// Too long a grace.
    #[error("the refresh grace is at most {} s", MAX_GRACE.as_secs())]
    Grace,
    /// A life of zero.
    #[error("tokens must live for at least one second")]
    Ttl,
    /// The id is taken.
    #[error("there is a client with the id {0} already; choose another one with --id")]
    Exists(ClientId),
    /// There is no such client.
    #[error("there is no client with the id {0}; `aip clients list` shows them")]
    Unknown(ClientId),
    /// Public clients have no secret.
    #[error("the client {0} is public and has no secret")]
    NoSecret(ClientId),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AuthorizationServer {
    /// Registers a client, under a random id unless one is given. The secret of a confidential
    /// client is in the answer and nowhere else.
    pub async fn register_client(
        &self,
        id: Option<ClientId>,
        settings: ClientSettings,
    ) -> Result<(Client, Option<SecretString>), RegistrationError> {
        let id = id.unwrap_or_else(|| ClientId::random(&*self.rng));
        let secret = (settings.auth_method != ClientAuthMethod::None)
            .then(|| TokenKind::ClientSecret.mint(&*self.rng));
        let now = self.clock.now();
        let secret_hash = secret.as_ref().map(|it| self.hash(it));
        let client = self.checked_client(id, settings, secret_hash, now)?;
        match self.storage.create_client(&client).await? {
            CreateClient::Created => Ok((client, secret)),
            CreateClient::Exists => Err(RegistrationError::Exists(client.id)),
        }
    }

    /// Changes a client. Its id, secret and authentication method stay.
    pub async fn update_client(
        &self,
        id: &ClientId,
        settings: ClientSettings,
    ) -> Result<Client, RegistrationError> {
        let unknown = || RegistrationError::Unknown(id.clone());
        let old = self.storage.client(id).await?.ok_or_else(unknown)?;
        let settings = ClientSettings {
            auth_method: old.auth_method,
            ..settings
        };
        let client = self.checked_client(id.clone(), settings, old.secret_hash, old.created_at)?;
        let updated = self.storage.update_client(&client).await?;
        self.known_clients.forget(id);
        if updated { Ok(client) } else { Err(unknown()) }
    }

    /// Gives a confidential client a new secret; the old one is worthless at once in this
    /// process, and a second later in all others.
    pub async fn rotate_client_secret(
        &self,
        id: &ClientId,
    ) -> Result<SecretString, RegistrationError> {
        let unknown = || RegistrationError::Unknown(id.clone());
        let client = self.storage.client(id).await?.ok_or_else(unknown)?;
        if !client.is_confidential() {
            return Err(RegistrationError::NoSecret(client.id));
        }
        let secret = TokenKind::ClientSecret.mint(&*self.rng);
        let replaced = self
            .storage
            .replace_client_secret(id, &self.hash(&secret), self.clock.now())
            .await?;
        self.known_clients.forget(id);
        if replaced { Ok(secret) } else { Err(unknown()) }
    }

    /// The scopes that AIP's own client document at PDSs must name: `always`, and everything that
    /// a registered client may ask for. PDSs compare word for word. A client whose scopes do not
    /// fit into a document that PDSs still accept is left out.
    pub async fn upstream_scopes(&self, always: &ScopeSet) -> Result<ScopeSet, StorageError> {
        let clients = self.storage.list_clients().await?;
        Ok(clients.iter().fold(always.clone(), |scopes, client| {
            scopes.union(&for_upstream(&client.scope)).unwrap_or(scopes)
        }))
    }

    fn checked_client(
        &self,
        id: ClientId,
        settings: ClientSettings,
        secret_hash: Option<TokenHash>,
        created_at: Timestamp,
    ) -> Result<Client, RegistrationError> {
        let ClientSettings {
            name,
            application_type,
            auth_method,
            redirect_uris,
            post_logout_redirect_uris,
            ..
        } = settings;
        if name.trim().is_empty()
            || name.chars().count() > MAX_NAME
            || name.chars().any(char::is_control)
        {
            return Err(RegistrationError::Name);
        }
        if redirect_uris.is_empty() {
            return Err(RegistrationError::RedirectCount(0));
        }
        let redirect_uris = self.checked_uris(&redirect_uris, application_type)?;
        let post_logout_redirect_uris =
            self.checked_uris(&post_logout_redirect_uris, application_type)?;
        if auth_method == ClientAuthMethod::None && !settings.require_pkce {
            return Err(RegistrationError::PublicWithoutPkce);
        }
        if settings.refresh_grace > MAX_GRACE {
            return Err(RegistrationError::Grace);
        }
        if settings.access_token_ttl.as_secs() == 0 || settings.refresh_token_ttl.as_secs() == 0 {
            return Err(RegistrationError::Ttl);
        }
        Ok(Client {
            id,
            name,
            application_type,
            auth_method,
            secret_hash,
            redirect_uris,
            post_logout_redirect_uris,
            scope: settings.scope,
            require_pkce: settings.require_pkce,
            first_party: settings.first_party,
            id_token_alg: settings.id_token_alg,
            access_token_ttl: settings.access_token_ttl,
            refresh_token_ttl: settings.refresh_token_ttl,
            refresh_grace: settings.refresh_grace,
            created_at,
            updated_at: self.clock.now(),
        })
    }

    fn checked_uris(
        &self,
        uris: &[String],
        kind: ApplicationType,
    ) -> Result<Vec<RedirectUri>, RegistrationError> {
        if uris.len() > MAX_REDIRECTS {
            return Err(RegistrationError::RedirectCount(uris.len()));
        }
        let dev = self.issuer.is_loopback();
        Ok(uris
            .iter()
            .map(|uri| redirect::check(uri, kind, dev))
            .collect::<Result<_, _>>()?)
    }
}
