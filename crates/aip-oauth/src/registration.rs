//! Registering and changing clients: the rules that every way of registering shares.

use std::time::Duration;

use aip_atproto::{Scope, ScopeSet, for_upstream};
use aip_base::Timestamp;
use aip_jose::Alg;
use aip_keys::{TokenHash, TokenKind};
use aip_storage::StorageError;
use aip_storage::client::{
    ApplicationType, Client, ClientAuthMethod, ClientId, CreateClient, IdTokenAlg, RedirectUri,
    RedirectUriError,
};
use secrecy::SecretString;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use crate::AuthorizationServer;
use crate::redirect;

/// The most redirect URIs of one client.
const MAX_REDIRECTS: usize = 20;
/// The longest name.
const MAX_NAME: usize = 100;
/// The longest lives: an access token cannot be told from a stolen one, and a refresh token that
/// nobody used for so long belongs to an app that nobody uses.
const MAX_ACCESS_TTL: Duration = Duration::from_hours(24);
const MAX_REFRESH_TTL: Duration = Duration::from_hours(24 * 365);
/// The most bytes of scopes in AIP's own client document: PDSs read at most 512 KB of it, and some
/// may read less.
const MAX_UPSTREAM_SCOPES: usize = 256 * 1024;
/// How many unknown scopes are told at once.
const MAX_TOLD: usize = 5;
/// The longest refresh grace (a longer one would keep stolen tokens alive).
const MAX_GRACE: Duration = Duration::from_mins(1);

/// What an operator says about a client.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own in the registration"
)]
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The name shown to people.
    pub name: String,
    /// Server or device.
    pub application_type: ApplicationType,
    /// How it authenticates.
    pub auth_method: ClientAuthMethod,
    /// Whether a secret may be presented by `auth_method` only, not by Basic or post alike.
    pub auth_method_pinned: bool,
    /// Where answers may go.
    pub redirect_uris: Vec<String>,
    /// Where browsers may go after a logout.
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask for at most.
    pub scope: ScopeSet,
    /// Whether an authorization without PKCE is refused.
    pub require_pkce: bool,
    /// Whether an authorization request that was not pushed (RFC 9126) is refused.
    pub require_par: bool,
    /// The operator's own app: people are not asked.
    pub first_party: bool,
    /// How its `id_token`s are signed.
    pub id_token_alg: IdTokenAlg,
    /// Whether its `id_token`s carry the claims that userinfo answers with.
    pub claims_in_id_token: bool,
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
    Redirect(#[from] RedirectUriError),
    /// No usable name.
    #[error(
        "a client's name has 1 to {MAX_NAME} characters, none of them a control character or invisible; {0:?} does not fit"
    )]
    Name(String),
    /// Scopes that nobody can be asked about.
    #[error("unknown scope: {0}")]
    UnknownScope(String),
    /// More than a PDS would read.
    #[error(
        "all clients together may ask PDSs for at most {MAX_UPSTREAM_SCOPES} bytes of different scopes; with this client there are {0}"
    )]
    UpstreamScopes(usize),
    /// The key set lacks a key.
    #[error("there is no {0} key in the key set that could sign the ID tokens of this client")]
    NoKey(&'static str),
    /// Public clients without PKCE are open to code interception.
    #[error("a public client must use PKCE")]
    PublicWithoutPkce,
    /// Too long a grace.
    #[error("the refresh grace is at most {} s", MAX_GRACE.as_secs())]
    Grace,
    /// A life of zero, or without a reasonable end.
    #[error(
        "an access token lives for 1 to {} s, a refresh token for 1 to {} s",
        MAX_ACCESS_TTL.as_secs(),
        MAX_REFRESH_TTL.as_secs()
    )]
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
        let client = self.checked_client(id, settings, secret_hash, now).await?;
        match self.storage.create_client(&client).await? {
            CreateClient::Created => Ok((client, secret)),
            CreateClient::Exists => Err(RegistrationError::Exists(client.id)),
        }
    }

    /// Changes a client; its id stays. A secret is made for a public client that becomes
    /// confidential, and is in the answer and nowhere else; that of a client that becomes public
    /// is forgotten.
    pub async fn update_client(
        &self,
        id: &ClientId,
        settings: ClientSettings,
    ) -> Result<(Client, Option<SecretString>), RegistrationError> {
        let unknown = || RegistrationError::Unknown(id.clone());
        let old = self.storage.client(id).await?.ok_or_else(unknown)?;
        let becomes_confidential =
            !old.is_confidential() && settings.auth_method != ClientAuthMethod::None;
        let secret = becomes_confidential.then(|| TokenKind::ClientSecret.mint(&*self.rng));
        let secret_hash = match &secret {
            Some(secret) => Some(self.hash(secret)),
            None => old
                .secret_hash
                .filter(|_| settings.auth_method != ClientAuthMethod::None),
        };
        let client = self
            .checked_client(id.clone(), settings, secret_hash, old.created_at)
            .await?;
        let updated = self.storage.update_client(&client).await?;
        self.known_clients.forget(id);
        if updated {
            Ok((client, secret))
        } else {
            Err(unknown())
        }
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
    /// a registered client may ask for. PDSs compare word for word, and refuse a client whose
    /// scopes are not all there. However many they are: registration refuses what is too much.
    pub async fn upstream_scopes(&self, always: &ScopeSet) -> Result<ScopeSet, StorageError> {
        let clients = self.storage.list_clients().await?;
        let scopes = clients.iter().map(|client| &client.scope);
        Ok(upstream_scopes(always, scopes))
    }

    /// Refuses a client with which the document would be larger than PDSs read.
    async fn check_upstream_scopes(
        &self,
        id: &ClientId,
        scope: &ScopeSet,
    ) -> Result<(), RegistrationError> {
        let clients = self.storage.list_clients().await?;
        let others = clients.iter().filter(|it| it.id != *id);
        let scopes = others.map(|it| &it.scope).chain([scope]);
        let bytes = upstream_scopes(&ScopeSet::default(), scopes)
            .to_string()
            .len();
        if bytes > MAX_UPSTREAM_SCOPES {
            return Err(RegistrationError::UpstreamScopes(bytes));
        }
        Ok(())
    }

    async fn checked_client(
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
            || name.chars().any(is_unprintable)
        {
            let shown = name.chars().take(MAX_NAME).collect();
            return Err(RegistrationError::Name(shown));
        }
        if let Some(unknown) = unknown_scopes(&settings.scope) {
            return Err(RegistrationError::UnknownScope(unknown));
        }
        self.check_upstream_scopes(&id, &settings.scope).await?;
        let alg = match settings.id_token_alg {
            IdTokenAlg::Es256 => Alg::Es256,
            IdTokenAlg::Rs256 => Alg::Rs256,
        };
        if self.keys.current().oidc(alg).is_none() {
            return Err(RegistrationError::NoKey(settings.id_token_alg.as_str()));
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
        let lives = [
            (settings.access_token_ttl, MAX_ACCESS_TTL),
            (settings.refresh_token_ttl, MAX_REFRESH_TTL),
        ];
        if lives
            .iter()
            .any(|(life, max)| life.as_secs() == 0 || life > max)
        {
            return Err(RegistrationError::Ttl);
        }
        Ok(Client {
            id,
            name,
            application_type,
            auth_method,
            auth_method_pinned: settings.auth_method_pinned,
            secret_hash,
            redirect_uris,
            post_logout_redirect_uris,
            scope: settings.scope,
            require_pkce: settings.require_pkce,
            require_par: settings.require_par,
            first_party: settings.first_party,
            id_token_alg: settings.id_token_alg,
            claims_in_id_token: settings.claims_in_id_token,
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

/// What a PDS is asked for `always`, and for clients with these scopes.
fn upstream_scopes<'a>(always: &ScopeSet, clients: impl Iterator<Item = &'a ScopeSet>) -> ScopeSet {
    let asked = clients.flat_map(|scope| for_upstream(scope).iter().cloned().collect::<Vec<_>>());
    always.iter().cloned().chain(asked).collect()
}

/// Whether a character has no place in a name: it controls, reorders or hides what is around it
/// (Unicode's Cc, Cf, Zl, Zp), or means nothing to others (Co, Cs, Cn).
fn is_unprintable(character: char) -> bool {
    matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::Unassigned
    )
}

/// The first few words that are no scopes, each with the one that was probably meant.
fn unknown_scopes(scope: &ScopeSet) -> Option<String> {
    let told: Vec<String> = scope.unknown().take(MAX_TOLD).map(unknown_scope).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn unknown_scope(word: &str) -> String {
    let shown: String = word.chars().take(100).collect();
    let spaced = word.replace([',', ';'], " ");
    let words: Option<ScopeSet> = spaced.parse().ok();
    if spaced != word
        && let Some(words) = words
        && words.unknown().next().is_none()
    {
        return format!("`{shown}`: scopes are separated by spaces: `{words}`");
    }
    match Scope::suggestion(word) {
        Some(meant) => format!("`{shown}` (did you mean `{meant}`?)"),
        None => format!("`{shown}`"),
    }
}
