//! Revocation (RFC 7009) and introspection (RFC 7662) of AIP's own tokens.

use aip_base::Timestamp;
use aip_keys::{PresentedToken, TokenKind};
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::client::ClientId;
use aip_storage::client_token::ClientToken;
use aip_storage::grant::{AccessToken, RefreshToken, RevokeReason};

use crate::AuthorizationServer;
use crate::client_auth::ClientAuthError;
use crate::grants::token_type;
use crate::params::{Params, ParamsError};

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

/// What introspection says of a live token of the asking client.
#[derive(Debug)]
pub struct Introspection {
    /// Whose it is: the account, or the client itself.
    pub subject: String,
    /// The app that it was given to.
    pub client_id: ClientId,
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

impl From<AccessToken> for Introspection {
    fn from(token: AccessToken) -> Self {
        Self {
            subject: token.grant.subject.to_string(),
            client_id: token.grant.client_id,
            scope: token.scope.to_string(),
            token_type: Some(token_type(token.dpop_jkt.is_some())),
            dpop_jkt: token.dpop_jkt,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
        }
    }
}

impl From<ClientToken> for Introspection {
    fn from(token: ClientToken) -> Self {
        Self {
            subject: token.client_id.to_string(),
            client_id: token.client_id,
            scope: token.scope.to_string(),
            token_type: Some(token_type(token.dpop_jkt.is_some())),
            dpop_jkt: token.dpop_jkt,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
        }
    }
}

impl From<RefreshToken> for Introspection {
    fn from(token: RefreshToken) -> Self {
        Self {
            subject: token.grant.subject.to_string(),
            client_id: token.grant.client_id,
            scope: token.grant.scope.to_string(),
            token_type: None,
            dpop_jkt: None,
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
        let Ok(token) = PresentedToken::parse(token_param(&params)?) else {
            return Ok(());
        };
        let hash = self.hasher.hash_token(token);
        let now = self.clock.now();
        if token.kind() == TokenKind::AccessToken {
            self.storage
                .revoke_access_token(&hash, &client.client().id)
                .await?;
            // Another client's is read again.
            self.known_tokens.forget(&hash);
        } else if token.kind() == TokenKind::ClientToken {
            self.storage
                .revoke_client_token(&hash, &client.client().id)
                .await?;
        } else if token.kind() == TokenKind::RefreshToken
            && let Some(found) = self.storage.refresh_token(&hash, now).await?
            && found.grant.client_id == client.client().id
        {
            self.storage
                .revoke_grant(found.grant.id, RevokeReason::ByClient, now)
                .await?;
            let id = found.grant.id;
            self.known_tokens.forget_grants(|grant| grant.id == id);
            self.note(
                AuditKind::GrantRevoked,
                &found.grant,
                RevokeReason::ByClient.as_str(),
            )
            .await?;
        }
        Ok(())
    }

    /// Says what a token of the asking client is; `None` for any other: the answer is then
    /// `{"active": false}` and nothing else.
    pub async fn introspect(
        &self,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<Option<Introspection>, TokenManagementError> {
        let params = Params::parse(body)?;
        let client = self.authenticate_client(authorization, &params).await?;
        if !client.client().is_confidential() {
            return Err(TokenManagementError::PublicClient);
        }
        let Ok(token) = PresentedToken::parse(token_param(&params)?) else {
            return Ok(None);
        };
        let hash = self.hasher.hash_token(token);
        let now = self.clock.now();
        let found = match token.kind() {
            TokenKind::AccessToken => {
                let found = self.storage.access_token(&hash, now).await?;
                found.map(Introspection::from)
            }
            TokenKind::ClientToken => {
                let found = self.storage.client_token(&hash, now).await?;
                found.map(Introspection::from)
            }
            TokenKind::RefreshToken => {
                let found = self.storage.refresh_token(&hash, now).await?;
                found.filter(|it| !it.spent).map(Introspection::from)
            }
            _ => None,
        };
        Ok(found.filter(|it| it.client_id == client.client().id))
    }
}

fn token_param(params: &Params) -> Result<&str, TokenManagementError> {
    params
        .get("token")
        .ok_or_else(|| TokenManagementError::Request("the parameter `token` is missing".to_owned()))
}
