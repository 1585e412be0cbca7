//! Clients: the apps registered at AIP (RFC 6749 §2, OpenID Connect Registration §2 for the names).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{ScopeSet, ServiceRef};
use aip_base::{Rng, Timestamp, random_name};
use aip_keys::TokenHash;
use async_trait::async_trait;
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::StorageError;
pub use crate::client_keys::{ClientKeys, JwksUri, JwksUriError};
use crate::display_uri::DisplayUris;
use crate::logout::{LogoutFormat, LogoutNotification};
pub use crate::redirect_uri::{RedirectTarget, RedirectUri, RedirectUriError};
use crate::resource_uri::{ResourceList, ResourceUri};
use crate::sector::Sector;

/// The `client_id` of an app: 1 to 255 visible ASCII characters without space, quote or backslash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

/// Not a `client_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client id has 1 to 255 visible ASCII characters, without space, quote or backslash")]
pub struct InvalidClientId;

/// How a client proves itself at the token endpoint (`token_endpoint_auth_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
pub enum ClientAuthMethod {
    /// A public client: it cannot keep a secret.
    #[strum(serialize = "none")]
    None,
    /// HTTP Basic (RFC 6749 §2.3.1).
    #[strum(serialize = "client_secret_basic")]
    SecretBasic,
    /// `client_secret` in the form body.
    #[strum(serialize = "client_secret_post")]
    SecretPost,
    /// An assertion that is signed with a key of the client (OpenID Connect Core §9).
    #[strum(serialize = "private_key_jwt")]
    PrivateKeyJwt,
}

/// What tokens are given for (`grant_type`, RFC 6749 §4.5).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr, EnumString,
)]
#[strum(serialize_all = "snake_case")]
pub enum GrantType {
    /// A code from the authorization endpoint.
    AuthorizationCode,
    /// `refresh_token` (RFC 6749 §6).
    RefreshToken,
    /// The client's own authentication: the tokens are for no account.
    ClientCredentials,
    /// A code from the device authorization endpoint (RFC 8628).
    #[strum(serialize = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
    /// A person's own token, for one that acts for somebody who lets them (RFC 8693).
    #[strum(serialize = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

/// The grants that a client may use, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTypes(BTreeSet<GrantType>);

/// Not a list of grant types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "grant types are one or more of `authorization_code`, `refresh_token`, `client_credentials`, `urn:ietf:params:oauth:grant-type:device_code` and `urn:ietf:params:oauth:grant-type:token-exchange`"
)]
pub struct InvalidGrantTypes;

/// Which rules a client is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
pub enum SecurityProfile {
    /// OAuth 2.1, with what the client itself is registered for.
    #[strum(serialize = "oauth2_1")]
    OAuth21,
    /// The FAPI 2.0 Security Profile.
    #[strum(serialize = "fapi2")]
    Fapi2,
}

/// Whether the app runs on a server or in a browser (`web`), or on the person's device (`native`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum ApplicationType {
    /// Redirects are `https`, compared exactly.
    Web,
    /// May use loopback redirects with any port (RFC 8252 §7.3) and private-use schemes (§7.1).
    Native,
}

/// The algorithm of a client's `id_token`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "UPPERCASE")]
pub enum IdTokenAlg {
    /// ECDSA on P-256, the default.
    Es256,
    /// RSA PKCS#1, which OpenID Connect Core §15.1 requires of every provider.
    Rs256,
    /// Ed25519, where the operator has added a key for it.
    #[strum(serialize = "EdDSA")]
    EdDsa,
}

/// What the access tokens of a client look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum AccessTokenFormat {
    /// Random: who wants to know what one is for asks introspection.
    Opaque,
    /// A JWT (RFC 9068), which resource servers read by themselves.
    Jwt,
}

/// What is said about a client when it is registered or changed.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own in the registration"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// The name shown to people; escaped wherever it is printed.
    pub name: String,
    /// Server or device.
    pub application_type: ApplicationType,
    /// How it authenticates.
    pub auth_method: ClientAuthMethod,
    /// Whether a client with a secret may present it by `auth_method` only. Otherwise both Basic
    /// and the form body are taken: it is the same secret.
    pub auth_method_pinned: bool,
    /// Its public keys, if it has any; always there for `private_key_jwt`.
    pub keys: Option<ClientKeys>,
    /// Which grants it may use.
    pub grant_types: GrantTypes,
    /// Where answers may go.
    pub redirect_uris: Vec<RedirectUri>,
    /// Where browsers may go after a logout (OpenID Connect RP-Initiated Logout §3.1).
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// Where AIP tells it of logouts (OpenID Connect Back-Channel Logout §2.2).
    pub backchannel_logout: Option<LogoutNotification>,
    /// In which form AIP does.
    pub backchannel_logout_format: LogoutFormat,
    /// Where browsers tell it of logouts (OpenID Connect Front-Channel Logout §2).
    pub frontchannel_logout: Option<LogoutNotification>,
    /// What it may ask for at most.
    pub scope: ScopeSet,
    /// Which rules it is held to.
    pub security_profile: SecurityProfile,
    /// Whether an authorization without PKCE is refused. Always true for public clients.
    pub require_pkce: bool,
    /// Whether an authorization request that was not pushed (RFC 9126) is refused.
    pub require_par: bool,
    /// Whether a token request without a DPoP proof is refused (RFC 9449 §5.2).
    pub dpop_bound_access_tokens: bool,
    /// The operator's own app: people are not asked for consent, but for `aip:credentials`.
    pub first_party: bool,
    /// How its `id_token`s are signed.
    pub id_token_alg: IdTokenAlg,
    /// How the answers of userinfo to it are signed (OpenID Connect Core §5.3.2); `None`: not at all.
    pub userinfo_alg: Option<IdTokenAlg>,
    /// Whether its access tokens are JWTs, which are signed as its `id_token`s are.
    pub access_token_format: AccessTokenFormat,
    /// The resource servers that it may ask access tokens for, besides AIP itself (RFC 8707).
    pub resources: ResourceList,
    /// Which resource server it is: it may introspect the access tokens for that one, whoever they
    /// were given to, and no others. `None` if it is none.
    pub resource_server: Option<ResourceUri>,
    /// Whether its `id_token`s carry the claims that userinfo answers with.
    pub claims_in_id_token: bool,
    /// Whether it gets to know who somebody is and nothing else: AIP ends its session at the PDS as soon
    /// as the person has allowed the app, and keeps none.
    pub authentication_only: bool,
    /// Whether AIP is a client of its own for this app at PDSs, with a document that has the app's name
    /// and scopes: consent and revocation there are per app, then. It counts for sign-ins that begin
    /// from now on; sessions stay with the upstream client that they began with.
    pub own_upstream_document: bool,
    /// Whether AIP signs client assertions for devices of this app, which talk to PDSs themselves as that
    /// upstream client (AT Protocol proposal 0010), where the operator has switched that on.
    pub client_assertions: bool,
    /// What that document shows of the app besides its name.
    pub display_uris: DisplayUris,
    /// Of which sector it is if it knows people by identifiers of that sector, and not by their DIDs
    /// (OpenID Connect Core §8.1). It never changes: every `sub` would be another one.
    pub pairwise: Option<Sector>,
    /// The service that its XRPC calls go on to when they name none (`atproto-proxy`).
    pub default_atproto_proxy: Option<ServiceRef>,
    /// Life of an access token.
    pub access_token_ttl: Duration,
    /// Life of a refresh token that is not used.
    pub refresh_token_ttl: Duration,
    /// How long a repeated refresh gets the same successor, 0 to 60 s.
    pub refresh_grace: Duration,
}

impl Default for ClientSettings {
    /// A client of which nothing is said: a confidential one of OAuth 2.1 with PKCE, that may ask for
    /// nothing and go nowhere.
    fn default() -> Self {
        Self {
            name: String::new(),
            application_type: ApplicationType::Web,
            auth_method: ClientAuthMethod::SecretBasic,
            auth_method_pinned: false,
            keys: None,
            grant_types: GrantTypes::default(),
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout: None,
            backchannel_logout_format: LogoutFormat::default(),
            frontchannel_logout: None,
            scope: ScopeSet::default(),
            security_profile: SecurityProfile::OAuth21,
            require_pkce: true,
            require_par: false,
            dpop_bound_access_tokens: false,
            first_party: false,
            id_token_alg: IdTokenAlg::Es256,
            userinfo_alg: None,
            access_token_format: AccessTokenFormat::Opaque,
            resources: ResourceList::default(),
            resource_server: None,
            claims_in_id_token: false,
            authentication_only: false,
            own_upstream_document: false,
            client_assertions: false,
            display_uris: DisplayUris::default(),
            pairwise: None,
            default_atproto_proxy: None,
            access_token_ttl: Duration::from_hours(1),
            refresh_token_ttl: Duration::from_hours(90 * 24),
            refresh_grace: Duration::from_secs(30),
        }
    }
}

/// A registered app.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// What it is registered with.
    pub settings: ClientSettings,
    /// The keyed hash of its secret; `None` exactly for clients that authenticate without one.
    pub secret_hash: Option<TokenHash>,
    /// Whether it registered itself (RFC 7591); otherwise the operator did. It never changes.
    pub registered_itself: bool,
    /// Whether what it is registered with is a document at its id
    /// (draft-ietf-oauth-client-id-metadata-document). It never changes.
    pub from_document: bool,
    /// Until when what that document said last holds if it cannot be read; over, once it was withdrawn.
    /// `None` for every other client.
    pub document_holds_until: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The outcome of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateClient {
    /// It is stored.
    Created,
    /// The id is taken; nothing changed.
    Exists,
}

/// Which state of all clients something was derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientsVersion {
    /// How many there are.
    pub count: u64,
    /// The latest change of one that is still there.
    pub changed_at: Option<Timestamp>,
}

/// The registered apps.
#[async_trait]
pub trait Clients: Send + Sync {
    /// Registers `client`.
    async fn create_client(&self, client: &Client) -> Result<CreateClient, StorageError>;

    /// The client of that id.
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StorageError>;

    /// What changes whenever a client is registered, changed or deleted.
    async fn clients_version(&self) -> Result<ClientsVersion, StorageError>;

    /// Whether the document of an upstream client of its own is still served for `id`, though the client
    /// has none any more or is deleted: sessions may be bound to it, or a sign-in under way. It is
    /// forgotten as [`RetentionClass::UpstreamDocuments`] says.
    ///
    /// [`RetentionClass::UpstreamDocuments`]: crate::housekeeping::RetentionClass::UpstreamDocuments
    async fn keeps_upstream_document(&self, id: &ClientId) -> Result<bool, StorageError>;

    /// All clients, by id.
    async fn list_clients(&self) -> Result<Vec<Client>, StorageError>;

    /// Writes every column of `client` but `created_at` and its sector (`pairwise`). The secret changes only when the client
    /// gets or loses one by this: otherwise the stored one stays, which may have been replaced
    /// since `client` was read. `false`: there is no such client, or it would authenticate with a
    /// secret and have none, or one of the two is known by a document and the other is not: it was
    /// deleted and another one registered under its id.
    ///
    /// Resource servers that the client loses by this are taken from its live grants, all or nothing; a
    /// grant that was for nothing else ends ([`RevokeReason::ByOperator`]) at [`Client::updated_at`].
    ///
    /// [`RevokeReason::ByOperator`]: crate::grant::RevokeReason::ByOperator
    async fn update_client(&self, client: &Client) -> Result<bool, StorageError>;

    /// [`Self::update_client`], unless the client was changed since it was read with that
    /// [`Client::updated_at`]: then `false`, too.
    async fn update_client_as_read(
        &self,
        client: &Client,
        read_at: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Replaces the secret of a client that has one. `false`: there is none of that id.
    async fn replace_client_secret(
        &self,
        id: &ClientId,
        secret: &TokenHash,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Deletes the client with its codes, grants, tokens and consents, and marks its upstream
    /// sessions ended and due for revocation at their PDS. `false`: there is no such client.
    async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<bool, StorageError>;
}

impl ClientAuthMethod {
    /// Whether a client of this method can prove who it is (RFC 6749 §2.1).
    pub fn is_confidential(self) -> bool {
        self != Self::None
    }

    /// Whether it does so with a secret that it shares with us.
    pub fn uses_secret(self) -> bool {
        matches!(self, Self::SecretBasic | Self::SecretPost)
    }
}

impl Client {
    /// Whether the client can prove who it is.
    pub fn is_confidential(&self) -> bool {
        self.settings.auth_method.is_confidential()
    }

    /// Whether the client is registered for that grant.
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.settings.grant_types.allows(grant)
    }
}

impl GrantType {
    /// Whether a person signs in for it, so that its tokens are for an account and may be renewed.
    pub fn signs_people_in(self) -> bool {
        match self {
            Self::AuthorizationCode | Self::DeviceCode => true,
            Self::RefreshToken | Self::ClientCredentials | Self::TokenExchange => false,
        }
    }
}

impl GrantTypes {
    /// This one alone.
    pub fn only(grant: GrantType) -> Self {
        Self(BTreeSet::from([grant]))
    }

    /// Whether `grant` is among them.
    pub fn allows(&self, grant: GrantType) -> bool {
        self.0.contains(&grant)
    }

    /// Each of them once, in the order of [`GrantType`].
    pub fn iter(&self) -> impl Iterator<Item = GrantType> {
        self.0.iter().copied()
    }
}

/// An app in which people sign in, and stay signed in.
impl Default for GrantTypes {
    fn default() -> Self {
        Self(BTreeSet::from([
            GrantType::AuthorizationCode,
            GrantType::RefreshToken,
        ]))
    }
}

impl TryFrom<Vec<GrantType>> for GrantTypes {
    type Error = InvalidGrantTypes;

    fn try_from(grants: Vec<GrantType>) -> Result<Self, Self::Error> {
        let grants = BTreeSet::from_iter(grants);
        (!grants.is_empty())
            .then_some(Self(grants))
            .ok_or(InvalidGrantTypes)
    }
}

/// Separated by spaces.
impl FromStr for GrantTypes {
    type Err = InvalidGrantTypes;

    fn from_str(words: &str) -> Result<Self, Self::Err> {
        let grants: Result<Vec<GrantType>, _> = words.split(' ').map(str::parse).collect();
        grants.map_err(|_| InvalidGrantTypes)?.try_into()
    }
}

impl fmt::Display for GrantTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(GrantType::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

impl ClientId {
    /// A new id of 128 random bits; base64url is within the alphabet of ids.
    pub fn random(rng: &dyn Rng) -> Self {
        Self(random_name::<16>(rng).into())
    }

    /// An id of ours, within the alphabet of ids.
    pub(crate) fn fixed(id: &'static str) -> Self {
        Self(id.into())
    }

    /// The id as sent on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as sent on the wire, to be kept: nothing is copied.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if (1..=255).contains(&s.len()) && s.bytes().all(allowed) {
            Ok(Self(s.into()))
        } else {
            Err(InvalidClientId)
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
