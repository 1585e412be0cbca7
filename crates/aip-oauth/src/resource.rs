//! Who calls with an access token: userinfo, the XRPC proxy and the product API ask here.
//!
//! RFC 6750 for Bearer tokens (header only: OAuth 2.1 §5.1.1 has no query form), RFC 9449 §7 for
//! tokens bound to a key. A bound token presented as Bearer is refused, and the reverse.

use aip_base::{Blame, RequestNotes};
use aip_keys::TokenKind;
use aip_storage::StorageError;
use aip_storage::grant::AccessToken;

use crate::AuthorizationServer;
use crate::dpop::{ProofError, Target};

/// Why a call with a token is refused. Each maps to one `WWW-Authenticate` challenge.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// No credential: a bare challenge.
    #[error("there is no access token in the Authorization header")]
    Missing,
    /// `invalid_token`.
    #[error("the access token is unknown, expired or revoked")]
    InvalidToken,
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

impl AuthorizedCall {
    /// The token, with its grant.
    pub fn token(&self) -> &AccessToken {
        &self.0
    }
}

impl ResourceError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Storage(_) => Blame::Ours,
            Self::Proof(error) => error.blame(),
            _ => Blame::Caller,
        }
    }
}

impl AuthorizationServer {
    /// Checks the credential of a call.
    pub async fn authorize_call(
        &self,
        credential: Credential<'_>,
    ) -> Result<AuthorizedCall, ResourceError> {
        let (scheme, token) = credential
            .authorization
            .and_then(|it| it.split_once(' '))
            .ok_or(ResourceError::Missing)?;
        let token = token.trim();
        let bound = scheme.eq_ignore_ascii_case("dpop");
        if !bound && !scheme.eq_ignore_ascii_case("bearer") {
            return Err(ResourceError::Missing);
        }
        if TokenKind::AccessToken.parse(token).is_err() {
            return Err(ResourceError::InvalidToken);
        }
        let found = self
            .storage
            .access_token(&self.hasher.hash(token), self.clock.now())
            .await?;
        let found = found.ok_or(ResourceError::InvalidToken)?;
        match (&found.dpop_jkt, bound) {
            (None, false) => {}
            (Some(jkt), true) => {
                let proof = credential.dpop.ok_or(ResourceError::NoProof)?;
                let key = self
                    .check_proof(proof, credential.target, Some(token))
                    .await?;
                if key.thumbprint() != jkt {
                    return Err(ResourceError::WrongKey);
                }
            }
            (None, true) | (Some(_), false) => return Err(ResourceError::WrongScheme),
        }
        RequestNotes::note_client(found.grant.client_id.as_str());
        RequestNotes::note_account(found.grant.did.as_str());
        Ok(AuthorizedCall(found))
    }
}
