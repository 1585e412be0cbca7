//! Registering and changing clients: the rules that every way of registering shares.

use std::collections::BTreeSet;
use std::time::Duration;

use aip_atproto::{Scope, ScopeSet};
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
use crate::client_registration::ClientRegistrationError;
use crate::grants::SUPPORTED_GRANTS;
use crate::pairwise::{PairwiseError, check_pairwise};
use crate::redirect;
use crate::signing::alg_of;
use crate::upstream_scopes::{MAX_IMPORTED_SCOPES, MAX_UPSTREAM_SCOPES};

/// The most redirect URIs of one client.
pub const MAX_REDIRECTS: usize = 20;
/// The longest name.
const MAX_NAME: usize = 100;
/// The longest life of an access token: it cannot be told from a stolen one.
pub const MAX_ACCESS_TTL: Duration = Duration::from_hours(24);
/// The longest life of a refresh token that is not used: one that nobody used for so long belongs to
/// an app that nobody uses.
pub const MAX_REFRESH_TTL: Duration = Duration::from_hours(24 * 365);
/// How many unknown scopes are named at once.
const MAX_LISTED_SCOPES: usize = 5;
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
    /// More than one client of another server may have PDSs asked for.
    #[error(
        "a client that is imported may ask PDSs for at most {MAX_IMPORTED_SCOPES} bytes of scopes, and this one asks for {0}: register it with `aip clients create` if it needs them"
    )]
    ImportedScopes(usize),
    /// The key set lacks a key.
    #[error("there is no {0} key in the key set that could sign the ID tokens of this client")]
    NoKey(&'static str),
    /// More than to know who somebody is.
    #[error(
        "a client for authentication only has the scopes openid, profile, email, offline_access and atproto; `{0}` needs a session at the PDS"
    )]
    AuthenticationOnly(String),
    /// There is no address that PDSs could read it at.
    #[error(
        "with a loopback base AIP is a development client of PDSs, without documents: leave --own-upstream-document out, or set `external_base` to the https address of this server"
    )]
    OwnUpstreamDocument,
    /// They would be for an upstream client that is not the app's.
    #[error(
        "client assertions are signed for the upstream client of the app itself: add --own-upstream-document true, or leave --client-assertions out"
    )]
    ClientAssertions,
    /// Gateways rewrite or refuse a `%2F` in a path, and PDSs compare the address letter by letter.
    #[error(
        "the id {0} has a `/`, with which an upstream document of its own would not be found through every gateway: leave --own-upstream-document out, or register the app under another --id"
    )]
    OwnUpstreamDocumentId(ClientId),
    /// It could not know people by identifiers of its sector.
    #[error(transparent)]
    Pairwise(#[from] PairwiseError),
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
    /// There would be nothing to exchange.
    #[error(
        "a client that exchanges tokens must be one that people sign in at: it needs `authorization_code` or `urn:ietf:params:oauth:grant-type:device_code`, too"
    )]
    ExchangeAlone,
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

/// Whether people who allowed an app something would now face another one: what they saw is its name, and
/// where it is. The order of the redirect URIs means nothing.
pub(crate) fn is_another_app(before: &ClientSettings, now: &ClientSettings) -> bool {
    let addresses = |settings: &ClientSettings| -> BTreeSet<String> {
        let uris = settings.redirect_uris.iter();
        uris.map(|it| it.as_str().to_owned()).collect()
    };
    before.name != now.name || addresses(before) != addresses(now)
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
        if id == ClientId::of_delegations() {
            return Err(RegistrationError::Exists(id));
        }
        let secret =
            (settings.auth_method.uses_secret()).then(|| TokenKind::ClientSecret.mint(&*self.rng));
        let now = self.clock.now();
        let secret_hash = secret.as_ref().map(|it| self.hash(it));
        let client = self.checked_client(id, settings, secret_hash, now).await?;
        self.check_sector(&client.settings, &[]).await?;
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
        let (client, secret) = self.changed_client(old, settings).await?;
        let updated = self.storage.update_client(&client).await?;
        self.known_clients.forget(id);
        if updated {
            Ok((client, secret))
        } else {
            Err(unknown())
        }
    }

    /// Likewise, for settings that were made of those of `old`: refused if that was changed or deleted
    /// since it was read, so that nothing of the other change is written over.
    pub async fn update_client_as_read(
        &self,
        old: Client,
        settings: ClientSettings,
    ) -> Result<(Client, Option<SecretString>), ClientRegistrationError> {
        let read_at = old.updated_at;
        let (client, secret) = self.changed_client(old, settings).await?;
        let updated = self.storage.update_client_as_read(&client, read_at).await?;
        self.known_clients.forget(&client.id);
        if updated {
            Ok((client, secret))
        } else {
            Err(ClientRegistrationError::ChangedMeanwhile)
        }
    }

    /// What is to be stored of the client `old` with those settings, and its secret if it gets one.
    async fn changed_client(
        &self,
        old: Client,
        settings: ClientSettings,
    ) -> Result<(Client, Option<SecretString>), RegistrationError> {
        if old.from_document {
            return Err(RegistrationError::FromDocument(old.id));
        }
        if settings.pairwise != old.settings.pairwise {
            return Err(PairwiseError::Fixed.into());
        }
        self.check_sector(&settings, &old.settings.redirect_uris)
            .await?;
        let uses_secret = settings.auth_method.uses_secret();
        let gets_secret = uses_secret && old.secret_hash.is_none();
        let secret = gets_secret.then(|| TokenKind::ClientSecret.mint(&*self.rng));
        let secret_hash = match &secret {
            Some(secret) => Some(self.hash(secret)),
            None => old.secret_hash.filter(|_| uses_secret),
        };
        let checked = self.checked_client(old.id, settings, secret_hash, old.created_at);
        let client = Client {
            registered_itself: old.registered_itself,
            from_document: old.from_document,
            ..checked.await?
        };
        Ok((client, secret))
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

    pub(crate) async fn checked_client(
        &self,
        id: ClientId,
        settings: ClientSettings,
        secret_hash: Option<TokenHash>,
        created_at: Timestamp,
    ) -> Result<Client, RegistrationError> {
        let client = self.check_without_others(id, settings, secret_hash, created_at)?;
        let scope = &client.settings.scope;
        self.check_upstream_scopes(&client.id, scope).await?;
        Ok(client)
    }

    /// Likewise, but for what all clients together may ask for, which is the caller's to check.
    pub(crate) fn check_without_others(
        &self,
        id: ClientId,
        mut settings: ClientSettings,
        secret_hash: Option<TokenHash>,
        created_at: Timestamp,
    ) -> Result<Client, RegistrationError> {
        self.check_settings(&mut settings)?;
        check_authentication_only(&settings)?;
        self.check_own_upstream_document(&id, &settings)?;
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
            require_fapi2(settings)?;
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
        check_pairwise(settings)?;
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
        check_lifetimes(settings)
    }

    /// PDSs must be able to read the document.
    fn check_own_upstream_document(
        &self,
        id: &ClientId,
        settings: &ClientSettings,
    ) -> Result<(), RegistrationError> {
        if !settings.own_upstream_document {
            return if settings.client_assertions {
                Err(RegistrationError::ClientAssertions)
            } else {
                Ok(())
            };
        }
        if self.issuer.is_loopback() {
            return Err(RegistrationError::OwnUpstreamDocument);
        }
        if id.as_str().contains('/') {
            return Err(RegistrationError::OwnUpstreamDocumentId(id.clone()));
        }
        Ok(())
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
fn require_fapi2(settings: &mut ClientSettings) -> Result<(), RegistrationError> {
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

/// What of `name` a client may be called; `None` if nothing of it.
pub fn fitting_name(name: &str) -> Option<String> {
    let printable = name.trim().chars().filter(|it| !is_unprintable(*it));
    let name: String = printable.take(MAX_NAME).collect();
    check_name(&name).is_ok().then_some(name)
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
    let signs_people_in = grants.iter().any(GrantType::signs_people_in);
    if grants.allows(GrantType::RefreshToken) && !signs_people_in {
        return Err(RegistrationError::RefreshAlone);
    }
    if grants.allows(GrantType::TokenExchange) && !signs_people_in {
        return Err(RegistrationError::ExchangeAlone);
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

fn check_lifetimes(settings: &ClientSettings) -> Result<(), RegistrationError> {
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
    let told: Vec<String> = scope
        .unknown()
        .take(MAX_LISTED_SCOPES)
        .map(unknown_scope)
        .collect();
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
