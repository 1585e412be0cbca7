//! Revocation (RFC 7009) and introspection (RFC 7662) of AIP's own tokens.

use aip_base::Timestamp;
use aip_keys::TokenKind;
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::client::{Client, ClientId};
use aip_storage::client_token::ClientToken;
use aip_storage::grant::{AccessToken, RefreshToken, RevokeReason};
use aip_storage::resource_uri::ResourceList;
use aip_storage::subject::Subject;
use serde::Serialize;

use crate::AuthorizationServer;
use crate::access_token::OwnToken;
use crate::client_auth::{AuthenticatedClient, ClientAuthError};
use crate::grants::token_type;
use crate::params::{Params, ParamsError};
use crate::signing::SigningError;

/// Why a revocation or introspection request is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenManagementError {
    /// 401 `invalid_client`.
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    /// 401 `invalid_client`: introspection needs a client that can prove who it is.
    #[error("a public client cannot introspect tokens")]
    PublicClient,
    /// 400 `invalid_request`.
    #[error("{0}")]
    Request(String),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// RFC 9701 §5.
#[derive(Serialize)]
struct SignedIntrospection<'a, T> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    token_introspection: &'a T,
}

/// What introspection says of a live token.
#[derive(Debug)]
pub struct Introspection {
    /// Whose it is: the account, as the client knows it, or the client itself.
    pub subject: String,
    /// Who acts for the account, if that is somebody else.
    pub actor: Option<String>,
    /// The app that it was given to.
    pub client_id: ClientId,
    /// The resource servers that it is for, none being AIP alone; `None` for a refresh token.
    pub audience: Option<ResourceList>,
    /// What the token may do, space-separated.
    pub scope: String,
    /// `Bearer` or `DPoP`; `None` for a refresh token.
    pub token_type: Option<&'static str>,
    /// The thumbprint of the key that it is bound to. The refresh tokens of clients that may ask
    /// here are not bound to any (RFC 9449 §5).
    pub dpop_jkt: Option<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Introspection {
    /// Whether that client may know of it: a resource server of the access tokens for it, any other
    /// client of its own tokens.
    fn is_visible_to(&self, client: &Client) -> bool {
        match &client.settings.resource_server {
            Some(identifier) => {
                let audience = self.audience.as_ref();
                audience.is_some_and(|it| it.contains(identifier.as_str()))
            }
            None => self.client_id == client.id,
        }
    }
}

impl Introspection {
    /// Of the access token of a person whom its client knows as `subject`.
    fn of_access_token(token: AccessToken, subject: &Subject) -> Self {
        Self {
            subject: subject.to_string(),
            actor: token.grant.delegate().map(ToString::to_string),
            client_id: token.grant.client_id,
            audience: Some(token.audience),
            scope: token.scope.to_string(),
            token_type: Some(token_type(token.dpop_jkt.is_some())),
            dpop_jkt: token.dpop_jkt,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
        }
    }

    /// Likewise, of the refresh token.
    fn of_refresh_token(token: RefreshToken, subject: &Subject) -> Self {
        Self {
            subject: subject.to_string(),
            actor: None,
            client_id: token.grant.client_id,
            audience: None,
            scope: token.grant.scope.to_string(),
            token_type: None,
            dpop_jkt: None,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
        }
    }
}

impl From<ClientToken> for Introspection {
    fn from(token: ClientToken) -> Self {
        Self {
            subject: token.client_id.to_string(),
            actor: None,
            client_id: token.client_id,
            audience: Some(token.audience),
            scope: token.scope.to_string(),
            token_type: Some(token_type(token.dpop_jkt.is_some())),
            dpop_jkt: token.dpop_jkt,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
        }
    }
}

impl From<ParamsError> for TokenManagementError {
    fn from(error: ParamsError) -> Self {
        Self::Request(error.to_string())
    }
}

impl AuthorizationServer {
    /// Revokes a token of the asking client. A refresh token takes its whole grant with it, and
    /// with the last grant the session at the PDS, also one that was used: the app may never have
    /// received the answer with its successor. An access token takes only itself. Tokens that are
    /// unknown or another client's change nothing, and the answer is the same (RFC 7009 §2.2).
    pub async fn revoke(
        &self,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<(), TokenManagementError> {
        let params = Params::parse(body)?;
        let client = self.authenticate_client(authorization, &params).await?;
        let Some(token) = self.read_token(token_param(&params)?) else {
            return Ok(());
        };
        let OwnToken { kind, hash, .. } = token;
        let now = self.clock.now();
        if kind == TokenKind::AccessToken {
            self.storage
                .revoke_access_token(&hash, &client.client().id)
                .await?;
            // Another client's is read again.
            self.known_tokens.forget(&hash);
        } else if kind == TokenKind::ClientToken {
            self.storage
                .revoke_client_token(&hash, &client.client().id)
                .await?;
        }
        if token.may_be_refresh_token()
            && let Some(found) = self.storage.refresh_token(&hash, now).await?
            && found.grant.client_id == client.client().id
        {
            self.storage
                .revoke_grant(found.grant.id, RevokeReason::ByClient, now)
                .await?;
            let id = found.grant.id;
            self.known_tokens.forget_grants(|grant| grant.id == id);
            let (kind, reason) = (AuditKind::GrantRevoked, RevokeReason::ByClient);
            self.note_end_of_grant(kind, &found.grant, reason).await;
        }
        Ok(())
    }

    /// Says what a token is that the asking client may know of: one of its own, or for a resource
    /// server one that is for it. `None` for any other: the answer is then `{"active": false}` and
    /// nothing else.
    pub async fn introspect(
        &self,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<(AuthenticatedClient, Option<Introspection>), TokenManagementError> {
        let params = Params::parse(body)?;
        let client = self.authenticate_client(authorization, &params).await?;
        if !client.client().is_confidential() {
            return Err(TokenManagementError::PublicClient);
        }
        let Some(token) = self.read_token(token_param(&params)?) else {
            return Ok((client, None));
        };
        let OwnToken { kind, hash, .. } = token;
        let now = self.clock.now();
        let mut found = match kind {
            TokenKind::AccessToken => {
                let found = self.storage.access_token(&hash, now).await?;
                found.map(|token| {
                    let subject = self.subject_of(&token.grant);
                    Introspection::of_access_token(token, &subject)
                })
            }
            TokenKind::ClientToken => {
                let found = self.storage.client_token(&hash, now).await?;
                found.map(Introspection::from)
            }
            _ => None,
        };
        if found.is_none() && token.may_be_refresh_token() {
            let refresh = self.storage.refresh_token(&hash, now).await?;
            found = refresh.filter(|it| !it.spent).map(|token| {
                let subject = self.subject_of(&token.grant);
                Introspection::of_refresh_token(token, &subject)
            });
        }
        let visible = found.filter(|it| it.is_visible_to(client.client()));
        // The asking client is there; the one that a resource server asks about may be withdrawn.
        if let Some(it) = &visible
            && !self.may_use_tokens(&it.client_id).await?
        {
            return Ok((client, None));
        }
        Ok((client, visible))
    }

    /// What introspection tells `client`, as a JWT (RFC 9701 §5): signed, and for that client alone.
    /// It has neither `sub` nor `exp`, so that nobody takes it for a token.
    pub fn sign_introspection(
        &self,
        client: &AuthenticatedClient,
        told: &impl Serialize,
    ) -> Result<String, SigningError> {
        let client = client.client();
        let claims = SignedIntrospection {
            iss: self.issuer.as_str(),
            aud: client.id.as_str(),
            iat: self.clock.now().as_secs(),
            token_introspection: told,
        };
        let alg = client.settings.id_token_alg;
        self.sign(alg, "token-introspection+jwt", &claims)
    }
}

fn token_param(params: &Params) -> Result<&str, TokenManagementError> {
    params
        .get("token")
        .ok_or_else(|| TokenManagementError::Request("the parameter `token` is missing".to_owned()))
}
