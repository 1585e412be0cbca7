//! The authorization server towards apps (OAuth 2.1, OpenID Connect Core), without HTTP or SQL.
//!
//! Reading order: [`authorize`] checks what an app asks for, [`interaction`] decides what to ask
//! the person, [`grants`] turn codes and refresh tokens into tokens, [`resource`] says who calls
//! with a token, [`tokens`] revokes and introspects. Wire formats live in `aip-http`.

mod access_token;
pub mod authorize;
mod back_channel_logout;
pub mod claims;
pub mod client_assertions;
pub mod client_auth;
pub mod client_documents;
pub mod client_fields;
mod client_key_sets;
pub mod client_registration;
pub mod credentials;
pub mod decision;
pub mod delegation;
pub mod developer_tokens;
pub mod dpop;
pub mod front_channel_logout;
pub mod grants;
pub mod id_token;
mod id_token_hint;
pub mod imported;
pub mod interaction;
mod invalid_values;
mod known_clients;
mod known_tokens;
pub mod logout;
mod logout_addresses;
pub mod pairwise;
pub mod params;
pub mod pkce;
pub mod redirect;
pub mod registration;
pub mod resource;
pub mod resource_indicators;
pub mod signing;
pub mod tokens;
pub mod unregistered;
pub mod upstream_scopes;
mod wire;

pub use client_documents::{ClientDocuments, DocumentPolicy};
pub use client_key_sets::ClientKeySets;
pub use client_registration::RegistrationPolicy;
pub use known_clients::KnownClients;
pub use known_tokens::KnownTokens;
pub use registration::{MAX_ACCESS_TTL, MAX_REFRESH_TTL};

use std::sync::Arc;

use aip_atproto::{BaseUrl, Origin};
use aip_base::{Clock, Http, Rng};
use aip_keys::{KeyRing, TokenHasher};
use aip_storage::Storage;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::grant::{Grant, RevokeReason};

/// The public base URL of this AIP, which is its issuer identifier (RFC 8414 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer(BaseUrl);

/// What every operation of the authorization server works with.
#[derive(Clone)]
pub struct AuthorizationServer {
    /// Who we are.
    pub issuer: Issuer,
    /// Where things are kept.
    pub storage: Arc<dyn Storage>,
    /// Whether every client must push its authorization requests (RFC 9126).
    pub require_par: bool,
    /// Whether client assertions are signed for apps that talk to PDSs themselves (AT Protocol proposal
    /// 0010).
    pub client_assertions: bool,
    /// Which clients may register themselves, and as what.
    pub registration: RegistrationPolicy,
    /// Clients that need not be read again yet.
    pub known_clients: KnownClients,
    /// The documents of clients that nobody registered.
    pub client_documents: Arc<ClientDocuments>,
    /// The keys of clients that keep them at an address of their own.
    pub client_key_sets: Arc<ClientKeySets>,
    /// Sends logout tokens.
    pub logout_http: Arc<dyn Http>,
    /// Access tokens of calls on PDSs that need not be read again yet.
    pub known_tokens: KnownTokens,
    /// Tokens of sessions whose hand-out to an app is written down.
    pub recorded_credentials: credentials::RecordedCredentials,
    /// Developer tokens whose use is written down.
    pub developer_token_uses: developer_tokens::DeveloperTokenUses,
    /// Knows the e-mail addresses of accounts.
    pub emails: Arc<dyn claims::Emails>,
    /// Knows what accounts show of themselves.
    pub profiles: Arc<dyn claims::Profiles>,
    /// The keys that sign `id_token`s.
    pub keys: Arc<KeyRing>,
    /// Hashes tokens before they meet the storage.
    pub hasher: Arc<TokenHasher>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

impl Issuer {
    /// Takes the external base URL.
    pub fn new(external_base: BaseUrl) -> Self {
        Self(external_base)
    }

    /// The external base URL.
    pub fn base(&self) -> &BaseUrl {
        &self.0
    }

    /// The issuer identifier.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &Origin {
        self.0.origin()
    }

    /// Whether this AIP runs on plain-http loopback, for development.
    pub fn is_loopback(&self) -> bool {
        !self.0.is_https() && self.0.is_loopback()
    }

    /// The absolute URL of a path that begins with `/`.
    pub fn url(&self, path: &str) -> String {
        self.0.join(path)
    }
}

impl AuthorizationServer {
    /// What happened to a grant. `why` is fixed words or scopes, never a secret.
    fn grant_event(&self, kind: AuditKind, grant: &Grant, why: &str) -> AuditEvent {
        let detail = format!("grant {}: {why}", grant.id);
        let event = AuditEvent::new(&*self.clock, &*self.rng, kind, &detail);
        event.of_account(&grant.subject).of_client(&grant.client_id)
    }

    /// Notes that a grant has ended.
    async fn note_end_of_grant(&self, kind: AuditKind, grant: &Grant, reason: RevokeReason) {
        let event = self.grant_event(kind, grant, reason.as_str());
        self.storage.note(&event).await;
    }
}
