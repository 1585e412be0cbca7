//! The token endpoint (OAuth 2.1 §3.2): one file per grant type, one table of them.

mod authorization_code;
mod client_credentials;
mod device_code;
mod partial_claims;
mod refresh_token;
mod token_exchange;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aip_atproto::{OpenIdScope, Scope, ScopeSet};
use aip_base::{RequestNotes, Timestamp};
use aip_keys::{TokenHash, TokenKind};
use aip_storage::StorageError;
use aip_storage::client::{Client, GrantType};
use aip_storage::grant::{Grant, NewTokens, RevokeReason, TokenFault};
use aip_storage::requested_claims::ClaimPlace;
use aip_storage::resource_uri::ResourceList;
use aip_storage::upstream::ReauthReason;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use tracing::Instrument as _;

pub use self::device_code::DeviceWait;
use self::partial_claims::{ClaimsReader, ReadClaims};
use crate::AuthorizationServer;
use crate::access_token::{AccessTokenContent, NewAccessToken};
use crate::claims::{Emails, PersonClaims, Profiles};
use crate::client_auth::{AuthenticatedClient, ClientAuthError, ClientRequest};
use crate::dpop::{ProofError, ProvenKey};
use crate::id_token::IdTokenSubject;
use crate::invalid_values::quoted;
use crate::params::{Params, ParamsError};
use crate::resource_indicators::TargetError;
use crate::signing::SigningError;

/// What the token endpoint gives tokens for, as its metadata tells.
pub const SUPPORTED_GRANTS: &[GrantType] = &[
    GrantType::AuthorizationCode,
    GrantType::RefreshToken,
    GrantType::ClientCredentials,
    GrantType::DeviceCode,
    GrantType::TokenExchange,
];

/// How long the answer to a token request waits for what servers of others say of the person. Clients wait
/// for an answer for 5 seconds or longer.
const CLAIMS_TIMEOUT: Duration = Duration::from_secs(1);

/// Tokens for an app.
#[derive(Debug)]
pub struct TokenResponse {
    /// The access token.
    pub access_token: SecretString,
    /// What kind of token that is, where it was exchanged for another one (RFC 8693 §2.2.1).
    pub issued_token_type: Option<&'static str>,
    /// `DPoP` when the tokens are bound to a key, otherwise `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// The refresh token, if the client may use one.
    pub refresh_token: Option<SecretString>,
    /// What the access token may do.
    pub scope: ScopeSet,
    /// Who signed in, when `openid` was granted.
    pub id_token: Option<SecretString>,
}

/// Why the token endpoint refuses. No word is a secret.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// 401 `invalid_client`.
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    /// 400 `invalid_request`.
    #[error("{0}")]
    Request(String),
    /// 400 `unsupported_grant_type`.
    #[error(
        "the grant type {name} is not supported; it must be one of {supported}",
        name = .0,
        supported = supported_grants()
    )]
    GrantType(String),
    /// 400 `unauthorized_client`.
    #[error("the client is not registered for the grant type `{0}`")]
    NotAllowed(&'static str),
    /// 400 `invalid_grant`.
    #[error("{0}")]
    Grant(GrantRefusal),
    /// 400 `invalid_scope`.
    #[error("{0}")]
    Scope(String),
    /// 400 `invalid_target`.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// 400, with an error of RFC 8628 §3.5.
    #[error("{0}")]
    Device(DeviceWait),
    /// 400 `invalid_dpop_proof` or `use_dpop_nonce`.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Our fault.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// Why a code or refresh token is no good. The words are the `error_description`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// One answer for unknown, expired and foreign ones: nobody learns which it was. The log does.
    #[error(
        "the code or token is unknown, expired, or not for this client, redirect URI, verifier or key"
    )]
    Unusable(Unusable),
    /// Spent before; what it had produced is revoked.
    #[error("the code or token was used before; everything that came from it is revoked")]
    Replayed,
    /// Its grant ended.
    #[error("the grant has ended: {}", .0.as_str())]
    Ended(RevokeReason),
    /// Its grant ended with the session at the PDS.
    #[error("the person must sign in again: {}", .0.as_str())]
    SignInAgain(ReauthReason),
}

/// What is wrong with a code or refresh token, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not even the form of one.
    #[error("it has not the form of one of ours: cut off, or of another server")]
    Malformed,
    /// RFC 7636 §4.1.
    #[error("the `code_verifier` is not 43 to 128 letters, digits or `-._~`")]
    Verifier,
    /// It is known, or was.
    #[error(transparent)]
    Fault(#[from] TokenFault),
}

impl GrantRefusal {
    /// What the log says: more than the caller.
    pub fn reason(&self) -> String {
        match self {
            Self::Unusable(why) => format!("the code or token is refused: {why}"),
            other => other.to_string(),
        }
    }
}

impl From<Unusable> for TokenError {
    fn from(why: Unusable) -> Self {
        Self::Grant(GrantRefusal::Unusable(why))
    }
}

/// The parameters and the client of a token request, both checked.
struct CheckedTokenRequest<'a> {
    params: &'a Params,
    client: &'a AuthenticatedClient,
    key: Option<ProvenKey>,
}

impl From<ParamsError> for TokenError {
    fn from(error: ParamsError) -> Self {
        Self::Request(error.to_string())
    }
}

impl AuthorizationServer {
    /// Answers a token request: client first, then the proof, then the grant, so that a failure
    /// of an earlier one spends nothing of a later one.
    pub async fn token(&self, request: ClientRequest<'_>) -> Result<TokenResponse, TokenError> {
        let params = Params::parse(request.body)?;
        let name = params
            .get("grant_type")
            .ok_or_else(|| missing("grant_type"))?;
        let grant_type = SUPPORTED_GRANTS.iter().find(|it| it.as_str() == name);
        let grant_type = *grant_type.ok_or_else(|| TokenError::GrantType(quoted(name)))?;
        let (client, key) = self.authenticate::<TokenError>(request, &params).await?;
        if !client.client().may_use(grant_type) {
            return Err(TokenError::NotAllowed(grant_type.as_str()));
        }
        if client.client().settings.dpop_bound_access_tokens && key.is_none() {
            return Err(ProofError::Missing.into());
        }
        let request = CheckedTokenRequest {
            params: &params,
            client: &client,
            key,
        };
        match grant_type {
            GrantType::AuthorizationCode => self.redeem_authorization_code(&request).await,
            GrantType::RefreshToken => self.redeem_refresh_token(&request).await,
            GrantType::ClientCredentials => self.issue_client_token(&request).await,
            GrantType::DeviceCode => self.redeem_device_code(&request).await,
            GrantType::TokenExchange => self.exchange_token(&request).await,
        }
    }
}

/// A freshly minted access token and the hashes to be stored.
struct MintedTokens {
    access: NewAccessToken,
    refresh: SecretString,
    tokens: NewTokens,
    issued_at: Timestamp,
}

/// What a token request asks for of its grant; what is absent is the grant's.
#[derive(Default)]
struct NarrowedTo {
    scope: Option<ScopeSet>,
    audience: Option<ResourceList>,
}

impl AuthorizationServer {
    fn mint(&self, client: &Client, refresh: SecretString, narrowed: NarrowedTo) -> MintedTokens {
        let now = self.clock.now();
        let (access, access_hash) = self.new_access_token(client, TokenKind::AccessToken);
        let settings = &client.settings;
        // A grant ends when its refresh token expires, whether anybody was told that or not.
        let refresh_ttl = if client.may_use(GrantType::RefreshToken) {
            settings.refresh_token_ttl
        } else {
            settings.access_token_ttl
        };
        let tokens = NewTokens {
            access: access_hash,
            access_expires_at: now + settings.access_token_ttl,
            access_scope: narrowed.scope,
            access_audience: narrowed.audience,
            refresh: self.hash(&refresh),
            refresh_expires_at: now + refresh_ttl,
        };
        MintedTokens {
            access,
            refresh,
            tokens,
            issued_at: now,
        }
    }

    /// The resources of a token request, of those that were asked for at first. `None` when nothing
    /// was: then there is no such code, which is reported when it is spent.
    fn narrowed_resources(
        &self,
        params: &Params,
        granted: Option<ResourceList>,
    ) -> Result<NarrowedTo, TargetError> {
        let audience = match granted {
            Some(granted) => self.narrowed_audience(params, &granted)?,
            None => None,
        };
        Ok(NarrowedTo {
            scope: None,
            audience,
        })
    }

    /// The keyed hash under which a token of ours is stored.
    pub(crate) fn hash(&self, token: &SecretString) -> TokenHash {
        self.hasher.hash(token.expose_secret())
    }

    /// The claims for the `id_token`. The code or refresh token is spent already, so that the answer must
    /// neither fail because of them nor take so long that its app gives up waiting for it: an app that
    /// misses them asks userinfo, which has by then what was read here.
    async fn person_claims_in_time(
        &self,
        grant: &Grant,
        scope: &ScopeSet,
        by_scope: bool,
    ) -> PersonClaims {
        if !by_scope && grant.claims.is_empty() {
            return PersonClaims::default();
        }
        let read = Arc::new(ClaimsReader {
            emails: Arc::clone(&self.emails),
            profiles: Arc::clone(&self.profiles),
            email: OnceLock::new(),
            profile: OnceLock::new(),
        });
        let server = Self {
            emails: Arc::clone(&read) as Arc<dyn Emails>,
            profiles: Arc::clone(&read) as Arc<dyn Profiles>,
            ..self.clone()
        };
        let (of, opened) = (grant.clone(), scope.clone());
        // A task of its own, which goes on when it is not waited for any more.
        let reading = tokio::spawn(RequestNotes::carried_into(
            async move {
                let place = ClaimPlace::IdToken;
                server.person_claims(&of, &opened, place, by_scope).await
            }
            .in_current_span(),
        ));
        let claims = if let Ok(Ok(claims)) = timeout(CLAIMS_TIMEOUT, reading).await {
            claims
        } else {
            tracing::info!(grant = %grant.id, "claims not read in time, ID token issued with what is known");
            let so_far = Arc::new(ReadClaims {
                email: read.email.get().cloned(),
                profile: read.profile.get().cloned(),
            });
            let known = Self {
                emails: Arc::clone(&so_far) as Arc<dyn Emails>,
                profiles: so_far,
                ..self.clone()
            };
            let place = ClaimPlace::IdToken;
            known.person_claims(grant, scope, place, by_scope).await
        };
        match claims {
            Ok(claims) => claims,
            Err(error) => {
                tracing::warn!(%error, grant = %grant.id, "e-mail address unavailable, ID token issued without it");
                PersonClaims::default()
            }
        }
    }

    /// `key`: the one whose possession the request proved, to which the access token is bound.
    async fn respond(
        &self,
        client: &Client,
        grant: &Grant,
        nonce: Option<&str>,
        minted: MintedTokens,
        key: Option<&ProvenKey>,
    ) -> Result<TokenResponse, TokenError> {
        RequestNotes::note_account(grant.subject.as_str());
        let tokens = minted.tokens;
        let scope = tokens.access_scope.unwrap_or_else(|| grant.scope.clone());
        let audience = tokens.access_audience.as_ref();
        let subject = self.subject_of(grant).to_string();
        let content = AccessTokenContent {
            account: Some(&subject),
            actor: None,
            audience: audience.unwrap_or(&grant.resources),
            scope: &scope,
            auth_time: grant.auth_time,
            key,
            issued_at: minted.issued_at,
            expires_at: tokens.access_expires_at,
        };
        let access_token = self.finish_access_token(client, minted.access, &content)?;
        let id_token = if scope.contains(&Scope::OpenId(OpenIdScope::OpenId)) {
            let by_scope = client.settings.claims_in_id_token;
            let person = self.person_claims_in_time(grant, &scope, by_scope).await;
            let about = IdTokenSubject {
                grant,
                nonce,
                person: &person,
                access_token: access_token.expose_secret(),
            };
            Some(self.id_token(client, &about, self.clock.now())?.into())
        } else {
            None
        };
        Ok(TokenResponse {
            access_token,
            issued_token_type: None,
            token_type: token_type(key.is_some()),
            expires_in: client.settings.access_token_ttl.as_secs(),
            refresh_token: client
                .may_use(GrantType::RefreshToken)
                .then_some(minted.refresh),
            scope,
            id_token,
        })
    }
}

/// How an access token is presented, given whether it is bound to a key.
pub(crate) fn token_type(bound: bool) -> &'static str {
    if bound { "DPoP" } else { "Bearer" }
}

fn supported_grants() -> String {
    let names = SUPPORTED_GRANTS
        .iter()
        .map(|it| format!("`{}`", it.as_str()));
    names.collect::<Vec<_>>().join(", ")
}

fn missing(name: &str) -> TokenError {
    TokenError::Request(format!("the parameter `{name}` is missing"))
}
