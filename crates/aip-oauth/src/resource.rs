//! Who calls with an access token: userinfo, the XRPC proxy and the product API ask here.
//!
//! RFC 6750 for Bearer tokens (header only: OAuth 2.1 §5.1.1 has no query form), RFC 9449 §7 for
//! tokens bound to a key. A bound token presented as Bearer is refused, and the reverse.

use std::sync::Arc;

use aip_atproto::{Handle, ServiceRef};
use aip_base::RequestNotes;
use aip_keys::TokenKind;
use aip_storage::StorageError;
use aip_storage::grant::AccessToken;
use aip_storage::session_read::SessionRead;
use aip_storage::session_status::{SessionStatus, TokenWithSession};

use crate::AuthorizationServer;
use crate::access_token::OwnToken;
use crate::dpop::{ProofError, Target};
use crate::known_tokens::KnownToken;

/// Why a call with a token is refused. Each maps to one `WWW-Authenticate` challenge.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// No credential: a bare challenge.
    #[error("there is no access token in the Authorization header")]
    Missing,
    /// `invalid_token`.
    #[error("the access token is unknown, expired or revoked")]
    InvalidToken,
    /// `invalid_token`: the token of a client itself, where an account is needed.
    #[error("the access token is of `client_credentials`, and so for no account")]
    NoAccount,
    /// `invalid_token`: a token for other resource servers (RFC 8707, RFC 9068 §4).
    #[error("the access token is for other resource servers, and not for this one")]
    OtherAudience,
    /// `insufficient_scope`: what is asked would lead to the account (OpenID Connect Core §8.1).
    #[error(
        "an app that knows people by pairwise subjects may ask userinfo, and nothing else here"
    )]
    Pairwise,
    /// `invalid_token`: the app is known by a document, which is not there any more. The token is good again
    /// when the document is.
    #[error(
        "the document of the app that the access token was given to is withdrawn, was not read for a day, or is not taken here"
    )]
    Withdrawn,
    /// `invalid_token`: Bearer scheme with a bound token, or DPoP scheme with an unbound one.
    #[error("the access token was sent with the wrong scheme")]
    WrongScheme,
    /// `invalid_token`: the proof is by another key than the token's.
    #[error("the proof is by another key than the token is bound to")]
    WrongKey,
    /// The scheme is DPoP and there is no proof.
    #[error("there is no DPoP proof")]
    NoProof,
    /// `invalid_dpop_proof` or `use_dpop_nonce`.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The credential of a call.
#[derive(Clone, Copy)]
pub struct Credential<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `DPoP` header; the caller made sure that there is at most one.
    pub dpop: Option<&'a str>,
    /// What a proof must be about.
    pub target: Target<'a>,
}

/// A call whose token and, if it is bound, key were checked. Made only here.
#[derive(Debug, Clone)]
pub struct AuthorizedCall(AccessToken);

/// Likewise, for a call on the PDS: the token, and the sessions behind it, as they were read a moment
/// ago. Made only here.
#[derive(Debug, Clone)]
pub struct AuthorizedProxyCall(Arc<KnownToken>);

/// Likewise, with the session behind the token as it was read at the same time. Made only here.
#[derive(Debug, Clone)]
pub struct AuthorizedSessionCall {
    call: AuthorizedCall,
    session: Option<SessionStatus>,
    handle: Option<Handle>,
}

impl AuthorizedCall {
    /// The token, with its grant.
    pub fn token(&self) -> &AccessToken {
        &self.0
    }
}

impl AuthorizedProxyCall {
    /// The token, with its grant.
    pub fn token(&self) -> &AccessToken {
        &self.0.token
    }

    /// The session that serves the grant; `None` if it is not there any more.
    pub fn session(&self) -> Option<&SessionRead> {
        self.0.session.as_ref()
    }

    /// The session of the app password that the client has for the account, if it can be used.
    pub fn app_password(&self) -> Option<&SessionRead> {
        self.0.app_password.as_ref()
    }

    /// The service that the client's calls go on to when they name none.
    pub fn default_atproto_proxy(&self) -> Option<&ServiceRef> {
        self.0.default_atproto_proxy.as_ref()
    }
}

impl AuthorizedSessionCall {
    /// The token, with its grant.
    pub fn token(&self) -> &AccessToken {
        self.call.token()
    }

    /// The session that serves the grant; `None` if it is not there any more.
    pub fn session(&self) -> Option<&SessionStatus> {
        self.session.as_ref()
    }

    /// The verified handle of the account, if it has one.
    pub fn handle(&self) -> Option<&Handle> {
        self.handle.as_ref()
    }
}

/// The access token of a credential, and how it was presented.
#[derive(Clone, Copy)]
struct Presented<'a> {
    token: OwnToken<'a>,
    /// Under the scheme `DPoP`.
    bound: bool,
}

impl AuthorizationServer {
    fn presented<'a>(&self, credential: &Credential<'a>) -> Result<Presented<'a>, ResourceError> {
        let (scheme, token) = credential
            .authorization
            .and_then(|it| it.split_once(' '))
            .ok_or(ResourceError::Missing)?;
        let token = token.trim();
        let bound = scheme.eq_ignore_ascii_case("dpop");
        if !bound && !scheme.eq_ignore_ascii_case("bearer") {
            return Err(ResourceError::Missing);
        }
        let token = self.read_token(token).ok_or(ResourceError::InvalidToken)?;
        match token.kind {
            TokenKind::AccessToken | TokenKind::DeveloperToken => Ok(Presented { token, bound }),
            TokenKind::ClientToken => Err(ResourceError::NoAccount),
            _ => Err(ResourceError::InvalidToken),
        }
    }

    /// Checks the credential of a call on userinfo.
    pub async fn authorize_userinfo(
        &self,
        credential: Credential<'_>,
    ) -> Result<AuthorizedCall, ResourceError> {
        let presented = self.presented(&credential)?;
        let hash = presented.token.hash;
        let found = self.storage.access_token(&hash, self.clock.now()).await?;
        let found = found.ok_or(ResourceError::InvalidToken)?;
        self.check_use(&found, presented, credential).await?;
        Ok(AuthorizedCall(found))
    }

    /// Checks the credential of any other call.
    pub async fn authorize_call(
        &self,
        credential: Credential<'_>,
    ) -> Result<AuthorizedCall, ResourceError> {
        let authorized = self.authorize_userinfo(credential).await?;
        check_account(&authorized.0)?;
        Ok(authorized)
    }

    /// Checks the credential of a call on the PDS. What the token allows, and that it does, may have
    /// been read up to a second ago.
    pub async fn authorize_proxy_call(
        &self,
        credential: Credential<'_>,
    ) -> Result<AuthorizedProxyCall, ResourceError> {
        let presented = self.presented(&credential)?;
        let hash = presented.token.hash;
        let read = |now| self.storage.access_token_for_call(&hash, now);
        let found = self.known_tokens.get(&hash, &*self.clock, read).await?;
        let found = found.ok_or(ResourceError::InvalidToken)?;
        self.check_use(&found.token, presented, credential).await?;
        check_account(&found.token)?;
        Ok(AuthorizedProxyCall(found))
    }

    /// Checks the credential of a call that asks about the session behind its token.
    pub async fn authorize_session_call(
        &self,
        credential: Credential<'_>,
    ) -> Result<AuthorizedSessionCall, ResourceError> {
        let presented = self.presented(&credential)?;
        let hash = presented.token.hash;
        let now = self.clock.now();
        let found = self.storage.access_token_with_session(&hash, now).await?;
        let TokenWithSession {
            token,
            session,
            handle,
        } = found.ok_or(ResourceError::InvalidToken)?;
        self.check_use(&token, presented, credential).await?;
        check_account(&token)?;
        Ok(AuthorizedSessionCall {
            call: AuthorizedCall(token),
            session,
            handle,
        })
    }

    /// Checks that the token is for AIP, and was presented as it must be: with a proof of its key, if
    /// it is bound to one, and only then.
    async fn check_use(
        &self,
        found: &AccessToken,
        presented: Presented<'_>,
        credential: Credential<'_>,
    ) -> Result<(), ResourceError> {
        if !self.issuer.is_in(&found.audience) {
            return Err(ResourceError::OtherAudience);
        }
        match (&found.dpop_jkt, presented.bound) {
            (None, false) => {}
            (Some(jkt), true) => {
                let proof = credential.dpop.ok_or(ResourceError::NoProof)?;
                let key = self
                    .check_proof(proof, credential.target, Some(presented.token.text))
                    .await?;
                if key.thumbprint() != jkt {
                    return Err(ResourceError::WrongKey);
                }
                // The client is read for the rare proofs alone that not every client may make.
                if !key.suits_every_profile()
                    && let Some(client) = self.known_client(&found.grant.client_id).await?
                {
                    key.check_profile(client.settings.security_profile)?;
                }
            }
            (None, true) | (Some(_), false) => return Err(ResourceError::WrongScheme),
        }
        let client = &found.grant.client_id;
        RequestNotes::note_client(client.as_str());
        RequestNotes::note_account(found.grant.subject.as_str());
        if !self.may_use_tokens(client).await? {
            return Err(ResourceError::Withdrawn);
        }
        self.note_developer_token_use(&found.grant).await;
        Ok(())
    }
}

/// Refuses a client that must not learn which account it is.
fn check_account(token: &AccessToken) -> Result<(), ResourceError> {
    match token.grant.sector {
        None => Ok(()),
        Some(_) => Err(ResourceError::Pairwise),
    }
}
