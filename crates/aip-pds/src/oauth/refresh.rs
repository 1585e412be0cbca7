//! Refresh and revocation. A refresh token is for one use: what may have happened to it decides
//! what may be done next, so each failure says that.

use std::time::Duration;

use aip_atproto::{Did, ScopeSet};
use aip_base::HttpError;
use aip_jose::SignError;
use secrecy::{ExposeSecret as _, SecretString};

use super::exchange::ExchangeError;
use super::identity::SessionKeys;
use super::token::{Received, TokenRefusal, TokenSet};
use crate::client::PdsClient;
use crate::metadata::AuthServer;
use crate::origins::Paused;
use crate::proof::ProvenIdentity;
use crate::request;

/// What a refresh needs of an upstream session.
#[derive(Debug, Clone)]
pub struct UpstreamCredentials {
    /// The keys that the session began with.
    pub keys: SessionKeys,
    /// The refresh token.
    pub refresh_token: SecretString,
    /// What was granted so far, for answers that do not say it again (RFC 6749 §5.1).
    pub scope: ScopeSet,
}

/// Why there are no new tokens, by what it means for the session.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The server does not accept the refresh token.
    #[error("the refresh token was refused: {description}")]
    InvalidGrant {
        /// The server's words.
        description: String,
    },
    /// The server does not accept this client: our keys or our metadata are wrong, the session
    /// is not.
    #[error("the authorization server does not accept this client: {description}")]
    InvalidClient {
        /// The server's words.
        description: String,
    },
    /// The server refused in other words, perhaps because the refresh token is dead: not every
    /// server calls that `invalid_grant`. The session stays for now.
    #[error("the refresh was refused with `{error}`: {description}")]
    Rejected {
        /// The error code.
        error: String,
        /// The server's words.
        description: String,
    },
    /// Nothing was sent: the refresh token is unused.
    #[error("the authorization server was not reached: {0}")]
    NotSent(#[source] HttpError),
    /// Nothing was sent: the server is down.
    #[error(transparent)]
    Paused(#[from] Paused),
    /// Overload or a restart. The session stays.
    #[error("the authorization server cannot refresh now")]
    Transient {
        /// The status, if the answer had one of its own.
        status: Option<u16>,
        /// When to come back, if the server said so.
        retry_after: Option<Duration>,
    },
    /// The request may have been processed; the refresh token may be used up.
    #[error("there is no complete answer of the authorization server: {0}")]
    MayHaveArrived(#[source] HttpError),
    /// There was an answer, but no access token in it that can be used. The session stays.
    #[error("{refusal}")]
    Unusable {
        /// What the answer lacks.
        refusal: TokenRefusal,
        /// The next refresh token, if the answer has one: the one that was sent is used up then.
        refresh: Option<SecretString>,
    },
    /// The tokens are for another account: the session at this server is somebody else's. They
    /// were given back.
    #[error("the server's token answer is for `{0}`, which is not the account of this session")]
    OtherAccount(Did),
    /// The request could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<ExchangeError> for RefreshError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::NotSent(error) => Self::NotSent(error),
            ExchangeError::Paused(paused) => Self::Paused(paused),
            ExchangeError::MayHaveArrived(error) => Self::MayHaveArrived(error),
            ExchangeError::Status {
                status,
                retry_after,
            } => Self::Transient {
                status: Some(status.as_u16()),
                retry_after,
            },
            ExchangeError::NonceLoop | ExchangeError::Malformed(_) => Self::Transient {
                status: None,
                retry_after: None,
            },
            ExchangeError::Sign(error) => Self::Sign(error),
            ExchangeError::Refused { error, description } => match error.as_str() {
                "invalid_grant" => Self::InvalidGrant { description },
                "invalid_client" | "unauthorized_client" => Self::InvalidClient { description },
                "server_error" | "temporarily_unavailable" | "slow_down" => Self::Transient {
                    status: None,
                    retry_after: None,
                },
                _ => Self::Rejected { error, description },
            },
        }
    }
}

impl PdsClient {
    /// Exchanges the refresh token of `session` for new tokens, at the server that was just
    /// proved to speak for the account.
    pub async fn refresh(
        &self,
        session: &UpstreamCredentials,
        proven: &ProvenIdentity,
    ) -> Result<TokenSet, RefreshError> {
        let server = proven.server();
        let params = [
            ("grant_type", "refresh_token"),
            ("refresh_token", session.refresh_token.expose_secret()),
        ];
        let endpoint = &server.token_endpoint;
        let answer = self
            .post(
                &session.keys,
                server,
                endpoint,
                &params,
                request::REFRESH_TIMEOUT,
            )
            .await?;
        let received = match Received::parse(&answer.body) {
            Ok(received) => received,
            Err(refusal) if answer.is_complete() => {
                let refresh = None;
                return Err(RefreshError::Unusable { refusal, refresh });
            }
            Err(refusal) => return Err(answer.without(refusal.to_string()).into()),
        };
        if let Some(other) = received.other_account(proven.did()) {
            self.revoke_refused(&session.keys, server, &received).await;
            return Err(RefreshError::OtherAccount(other));
        }
        // The token that was sent is spent: whatever form the answer has, what it gives is kept.
        let renewed = received.renewed(answer.sent_at, proven.did(), &session.scope);
        let mut tokens = match renewed {
            Ok(tokens) => tokens,
            Err(refusal) => {
                let refresh = received.refresh_token();
                if refresh.is_none() && !answer.is_complete() {
                    return Err(answer.without(refusal.to_string()).into());
                }
                return Err(RefreshError::Unusable { refusal, refresh });
            }
        };
        // RFC 6749 §6: without a new refresh token the old one stays good.
        tokens
            .refresh
            .get_or_insert_with(|| session.refresh_token.clone());
        Ok(tokens)
    }

    /// Revokes `token`, access or refresh (RFC 7009). A server without the endpoint has nothing
    /// to revoke with; that counts as done.
    pub async fn revoke(
        &self,
        keys: &SessionKeys,
        server: &AuthServer,
        token: &SecretString,
    ) -> Result<(), ExchangeError> {
        let Some(endpoint) = &server.revocation_endpoint else {
            return Ok(());
        };
        let params = [("token", token.expose_secret())];
        let revoked = self.post(keys, server, endpoint, &params, request::IDEMPOTENT_TIMEOUT);
        match revoked.await {
            // RFC 7009 §2.2 answers 200 to a token that has expired; some servers say that it is.
            Err(ExchangeError::Refused { error, .. })
                if matches!(error.as_str(), "invalid_token" | "invalid_grant") =>
            {
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// Revokes tokens that are not going to be used. If that fails they expire by themselves.
    pub(super) async fn revoke_refused(
        &self,
        keys: &SessionKeys,
        server: &AuthServer,
        received: &Received,
    ) {
        if let Some(token) = received.revocable()
            && let Err(error) = self.revoke(keys, server, &token).await
        {
            tracing::warn!(issuer = %server.issuer, %error, "revocation of rejected tokens failed");
        }
    }
}
