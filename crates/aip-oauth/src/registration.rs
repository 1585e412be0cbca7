//! Registering and changing clients: the rules that every way of registering shares.

use std::time::Duration;

use aip_atproto::{Scope, ScopeSet, for_upstream};
use aip_base::Timestamp;
use aip_jose::Alg;
use aip_keys::{TokenHash, TokenKind};
use aip_storage::StorageError;
pub use aip_storage::client::ClientSettings;
use aip_storage::client::{
    ApplicationType, Client, ClientAuthMethod, ClientId, ClientKeys, CreateClient, GrantType,
    IdTokenAlg, RedirectTarget, RedirectUri, RedirectUriError, SecurityProfile,
};
use aip_storage::logout::LogoutUri;
use secrecy::SecretString;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use crate::AuthorizationServer;
use crate::client_auth::assertion_algs;
use crate::grants::SUPPORTED_GRANTS;
use crate::redirect;
use crate::signing::alg_of;

/// The most redirect URIs of one client.
const MAX_REDIRECTS: usize = 20;
/// The longest name.
const MAX_NAME: usize = 100;
/// The longest life of an access token: it cannot be told from a stolen one.
pub const MAX_ACCESS_TTL: Duration = Duration::from_hours(24);
/// The longest life of a refresh token that is not used: one that nobody used for so long belongs to
/// an app that nobody uses.
pub const MAX_REFRESH_TTL: Duration = Duration::from_hours(24 * 365);
/// The most bytes of scopes in AIP's own client document: PDSs read at most 512 KB of it, and some
/// may read less.
const MAX_UPSTREAM_SCOPES: usize = 256 * 1024;
/// How many unknown scopes are told at once.
const MAX_TOLD: usize = 5;
/// The longest refresh grace (a longer one would keep stolen tokens alive).
const MAX_GRACE: Duration = Duration::from_mins(1);

/// Why a client is not registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// No usable redirect URI list.
    #[error("a client has 1 to {MAX_REDIRECTS} redirect URIs; this one has {0}")]
    RedirectCount(usize),
    /// A redirect URI that must not be registered.
    #[error("redirect URI {0}")]
    Redirect(#[from] RedirectUriError),
    /// A post-logout redirect URI that must not be registered, or too many.
    #[error("after a logout: {0}")]
    PostLogout(#[source] Box<Self>),
    /// Nobody but a server on the same machine could be told there.
    #[error(
        "AIP tells apps of logouts by http on loopback only while it runs there itself; {0} needs https"
    )]
    LoopbackLogout(LogoutUri),
    /// OpenID Connect Front-Channel Logout §2.
    #[error(
        "browsers tell an app of a logout where its people come back to: {0} has not the scheme, host and port of any of its redirect URIs"
    )]
    FrontChannelLogout(LogoutUri),
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
    /// More than to know who somebody is.
    #[error(
        "a client for authentication only has the scopes openid, profile, email, offline_access and atproto; `{0}` needs a session at the PDS"
    )]
    AuthenticationOnly(String),
    /// Nobody could use it.
    #[error("the grant type `{0}` is not supported by this server")]
    UnsupportedGrant(&'static str),
    /// Anybody could get them.
    #[error(
        "a public client cannot use `client_credentials`: give it --auth-method client_secret_basic or private_key_jwt"
    )]
    PublicWithCredentials,
    /// Its tokens could not be renewed, or what it renews could not be given.
    #[error(
        "a client with `refresh_token` has a grant that gives refresh tokens, such as `authorization_code`"
    )]
    RefreshAlone,
    /// Its assertions could not be verified.
    #[error(
        "a client with `private_key_jwt` has public keys: name them with --jwks-file or --jwks-uri"
    )]
    NoClientKeys,
    /// Likewise: none of them is of an algorithm that is taken.
    #[error("none of the client's keys is a public key for signatures with {}", names(.0))]
    NoUsableClientKey(&'static [Alg]),
    /// FAPI 2.0 Security Profile §5.3.2.1.
    #[error("the security profile `fapi2` demands {0}")]
    Fapi2(&'static str),
    /// Public clients without PKCE are open to code interception.
    #[error("a public client must use PKCE")]
    PublicWithoutPkce,
    /// Anybody could ask about tokens.
    #[error(
        "a public client cannot be a resource server: give it --auth-method client_secret_basic or private_key_jwt"
    )]
    PublicResourceServer,
    /// Everybody's tokens are for AIP.
    #[error("a resource server has an identifier of its own; {0} is this server's")]
    OwnResource(String),
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
    /// Public clients, and those with keys, have no secret.
    #[error("the client {0} has no secret: it does not authenticate with one")]
    NoSecret(ClientId),
    /// The operator has no say in it.
    #[error(
        "what the client {0} may do is in the document at that address, and nowhere else; `aip clients delete` ends what people allowed it"
    )]
    FromDocument(ClientId),
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
        let secret =
            (settings.auth_method.uses_secret()).then(|| TokenKind::ClientSecret.mint(&*self.rng));
        let now = self.clock.now();
        let secret_hash = secret.as_ref().map(|it| self.hash(it));
        let client = self.checked_client(id, settings, secret_hash, now).await?;
        match self.storage.create_client(&client).await? {
            CreateClient::Created => Ok((client, secret)),
            CreateClient::Exists => Err(RegistrationError::Exists(client.id)),
        }
    }

    /// Changes a client; its id stays. A secret is made for a client that had none and needs one
    /// from now on, and is in the answer and nowhere else; that of a client that needs none any
    /// more is forgotten.
    pub async fn update_client(
        &self,
        id: &ClientId,
        settings: ClientSettings,
    ) -> Result<(Client, Option<SecretString>), RegistrationError> {
        let unknown = || RegistrationError::Unknown(id.clone());
        let old = self.storage.client(id).await?.ok_or_else(unknown)?;
        if old.from_document {
            return Err(RegistrationError::FromDocument(old.id));
        }
        let uses_secret = settings.auth_method.uses_secret();
        let gets_secret = uses_secret && old.secret_hash.is_none();
        let secret = gets_secret.then(|| TokenKind::ClientSecret.mint(&*self.rng));
        let secret_hash = match &secret {
            Some(secret) => Some(self.hash(secret)),
            None => old.secret_hash.filter(|_| uses_secret),
        };
        let checked = self.checked_client(id.clone(), settings, secret_hash, old.created_at);
        let client = Client {
            registered_itself: old.registered_itself,
            from_document: old.from_document,
            ..checked.await?
        };
        let updated = self.storage.update_client(&client).await?;
        self.known_clients.forget(id);
        if updated {
            Ok((client, secret))
        } else {
            Err(unknown())
        }
    }

    /// Gives a client that has a secret a new one; the old one is worthless at once in this
    /// process, and a second later in all others.
    pub async fn rotate_client_secret(
        &self,
        id: &ClientId,
    ) -> Result<SecretString, RegistrationError> {
        let unknown = || RegistrationError::Unknown(id.clone());
        let client = self.storage.client(id).await?.ok_or_else(unknown)?;
        if client.secret_hash.is_none() {
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
        let scopes = clients.iter().map(|client| &client.settings.scope);
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
        let scopes = others.map(|it| &it.settings.scope).chain([scope]);
        let bytes = upstream_scopes(&ScopeSet::default(), scopes)
            .to_string()
            .len();
        if bytes > MAX_UPSTREAM_SCOPES {
            return Err(RegistrationError::UpstreamScopes(bytes));
        }
        Ok(())
    }

    pub(crate) async fn checked_client(
        &self,
        id: ClientId,
        mut settings: ClientSettings,
        secret_hash: Option<TokenHash>,
        created_at: Timestamp,
    ) -> Result<Client, RegistrationError> {
        self.check_settings(&mut settings)?;
        check_authentication_only(&settings)?;
        self.check_upstream_scopes(&id, &settings.scope).await?;
        Ok(Client {
            id,
            settings,
            secret_hash,
            registered_itself: false,
            from_document: false,
            document_holds_until: None,
            created_at,
            updated_at: self.clock.now(),
        })
    }

    /// Checks what holds for every client, however it is known. What its security profile demands is set.
    pub(crate) fn check_settings(
        &self,
        settings: &mut ClientSettings,
    ) -> Result<(), RegistrationError> {
        if settings.security_profile == SecurityProfile::Fapi2 {
            hold_to_fapi2(settings)?;
        }
        check_name(&settings.name)?;
        if let Some(unknown) = unknown_scopes(&settings.scope) {
            return Err(RegistrationError::UnknownScope(unknown));
        }
        for alg in [Some(settings.id_token_alg), settings.userinfo_alg] {
            if let Some(alg) = alg
                && self.keys.current().oidc(alg_of(alg)).is_none()
            {
                return Err(RegistrationError::NoKey(alg.as_str()));
            }
        }
        self.check_resource_server(settings)?;
        check_grants(settings)?;
        check_keys(settings)?;
        let needs_redirect = settings.grant_types.allows(GrantType::AuthorizationCode);
        if needs_redirect && settings.redirect_uris.is_empty() {
            return Err(RegistrationError::RedirectCount(0));
        }
        self.check_uris(&settings.redirect_uris, settings.application_type)?;
        self.check_uris(
            &settings.post_logout_redirect_uris,
            settings.application_type,
        )
        .map_err(|error| RegistrationError::PostLogout(Box::new(error)))?;
        self.check_logout_addresses(settings)?;
        if !settings.auth_method.is_confidential() && !settings.require_pkce {
            return Err(RegistrationError::PublicWithoutPkce);
        }
        check_lives(settings)
    }

    /// Which tokens a client may ask about follows from its identifier as a resource server.
    fn check_resource_server(&self, settings: &ClientSettings) -> Result<(), RegistrationError> {
        let Some(identifier) = &settings.resource_server else {
            return Ok(());
        };
        if !settings.auth_method.is_confidential() {
            return Err(RegistrationError::PublicResourceServer);
        }
        if self.issuer.is_resource(identifier.as_str()) {
            return Err(RegistrationError::OwnResource(identifier.to_string()));
        }
        Ok(())
    }

    fn check_uris(
        &self,
        uris: &[RedirectUri],
        kind: ApplicationType,
    ) -> Result<(), RegistrationError> {
        if uris.len() > MAX_REDIRECTS {
            return Err(RegistrationError::RedirectCount(uris.len()));
        }
        let dev = self.issuer.is_loopback();
        for uri in uris {
            redirect::check(uri, kind, dev)?;
        }
        Ok(())
    }
}

/// What the profile demands of a client (FAPI 2.0 Security Profile §5.3.2): what makes it safer is
/// set, what contradicts it is refused.
fn hold_to_fapi2(settings: &mut ClientSettings) -> Result<(), RegistrationError> {
    let redirects = &settings.redirect_uris;
    let demands = [
        (
            settings.auth_method == ClientAuthMethod::PrivateKeyJwt,
            "--auth-method private_key_jwt",
        ),
        (
            settings.id_token_alg != IdTokenAlg::Rs256,
            "--id-token-alg ES256 or EdDSA",
        ),
        (
            settings
                .userinfo_alg
                .is_none_or(|alg| alg != IdTokenAlg::Rs256),
            "--userinfo-alg ES256 or EdDSA, or none",
        ),
        (
            redirects
                .iter()
                .all(|uri| uri.target() == RedirectTarget::Https),
            "https redirect URIs",
        ),
        // They know neither pushed requests nor PKCE, and the profile has no other rules for them.
        (
            !settings.grant_types.allows(GrantType::DeviceCode),
            "sign-ins by redirect: no --grant-type of device codes",
        ),
    ];
    if let Some((_, demanded)) = demands.iter().find(|(met, _)| !met) {
        return Err(RegistrationError::Fapi2(demanded));
    }
    settings.require_pkce = true;
    settings.require_par = true;
    settings.dpop_bound_access_tokens = true;
    Ok(())
}

/// Nothing can be done with an account whose session has ended.
fn check_authentication_only(settings: &ClientSettings) -> Result<(), RegistrationError> {
    let is_identity = |scope: &&Scope| matches!(scope, Scope::Atproto | Scope::OpenId(_));
    let more = settings.scope.iter().find(|scope| !is_identity(scope));
    match more.filter(|_| settings.authentication_only) {
        Some(scope) => Err(RegistrationError::AuthenticationOnly(scope.to_string())),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), RegistrationError> {
    if name.trim().is_empty() || name.chars().count() > MAX_NAME || name.chars().any(is_unprintable)
    {
        let shown = name.chars().take(MAX_NAME).collect();
        return Err(RegistrationError::Name(shown));
    }
    Ok(())
}

fn check_grants(settings: &ClientSettings) -> Result<(), RegistrationError> {
    let grants = &settings.grant_types;
    if let Some(unsupported) = grants.iter().find(|it| !SUPPORTED_GRANTS.contains(it)) {
        return Err(RegistrationError::UnsupportedGrant(unsupported.as_str()));
    }
    // RFC 6749 §4.4: "The client credentials grant type MUST only be used by confidential clients".
    if grants.allows(GrantType::ClientCredentials) && !settings.auth_method.is_confidential() {
        return Err(RegistrationError::PublicWithCredentials);
    }
    let gives_refresh_tokens = [GrantType::AuthorizationCode, GrantType::DeviceCode];
    if grants.allows(GrantType::RefreshToken)
        && !gives_refresh_tokens.iter().any(|it| grants.allows(*it))
    {
        return Err(RegistrationError::RefreshAlone);
    }
    Ok(())
}

fn check_keys(settings: &ClientSettings) -> Result<(), RegistrationError> {
    match &settings.keys {
        None if settings.auth_method == ClientAuthMethod::PrivateKeyJwt => {
            Err(RegistrationError::NoClientKeys)
        }
        Some(ClientKeys::Registered(keys)) => {
            let algs = assertion_algs(settings.security_profile);
            let usable = keys.keys().iter().any(|key| algs.contains(&key.alg()));
            usable
                .then_some(())
                .ok_or(RegistrationError::NoUsableClientKey(algs))
        }
        None | Some(ClientKeys::At(_)) => Ok(()),
    }
}

fn names(algs: &[Alg]) -> String {
    let names: Vec<&str> = algs.iter().map(|alg| alg.as_str()).collect();
    names.join(" or ")
}

fn check_lives(settings: &ClientSettings) -> Result<(), RegistrationError> {
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
    Ok(())
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
