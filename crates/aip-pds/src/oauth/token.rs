//! Token responses of an authorization server (RFC 6749 §5.1) and what the AT Protocol demands of
//! them (<https://atproto.com/specs/oauth#tokens-and-session-lifetime>).

use std::time::Duration;

use aip_atproto::{Did, Scope, ScopeSet};
use aip_base::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::lifetime::usable_until;

/// No access token is believed to live longer than this.
const MAX_LIFETIME: u64 = 30 * 24 * 3600;

/// The tokens of an upstream session.
#[derive(Debug, Clone)]
pub struct TokenSet {
    /// The access token, opaque.
    pub access: SecretString,
    /// The refresh token, for one use.
    pub refresh: Option<SecretString>,
    /// When they were asked for: the life of the access token counts from then, as nobody knows
    /// when on its way the answer was made.
    pub asked_at: Timestamp,
    /// When the access token expires.
    pub expires_at: Timestamp,
    /// What was granted, which may be less than what was asked for.
    pub scope: ScopeSet,
    /// The account.
    pub sub: Did,
}

/// What a token response lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not JSON of the right shape.
    #[error("the token response is not readable")]
    Unreadable,
    /// No access token.
    #[error("the token response has no `access_token`")]
    AccessToken,
    /// Not bound to our key.
    #[error("`token_type` is not `DPoP`")]
    TokenType,
    /// `sub` is missing or no DID.
    #[error("`sub` is not a DID")]
    Sub,
    /// `scope` is missing, unreadable, or lacks `atproto`.
    #[error("`scope` does not contain `atproto`")]
    Scope,
    /// `expires_in` is missing or not a number.
    #[error("`expires_in` is missing or not a number of seconds")]
    ExpiresIn,
    /// The tokens are for another account than before.
    #[error("`sub` is not the account of this session")]
    OtherAccount,
}

/// A token response before it is judged. Only the tokens must be readable, so that they can be
/// revoked when the rest is not acceptable.
#[derive(Deserialize)]
pub(super) struct Received {
    access_token: Option<String>,
    refresh_token: Option<String>,
    #[serde(default)]
    token_type: Value,
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    expires_in: Value,
}

impl TokenSet {
    /// The instant from which on the access token must not be used.
    pub fn usable_until(&self) -> Timestamp {
        usable_until(self.asked_at, self.expires_at)
    }
}

impl Received {
    pub(super) fn parse(body: &[u8]) -> Result<Self, TokenRefusal> {
        serde_json::from_slice(body).map_err(|_| TokenRefusal::Unreadable)
    }

    /// The token whose revocation ends the session.
    pub(super) fn revocable(&self) -> Option<SecretString> {
        let token = self.refresh_token.as_ref().or(self.access_token.as_ref());
        token.map(|token| token.as_str().into())
    }

    /// `asked_at`: when the request was sent that this answers.
    pub(super) fn check(&self, asked_at: Timestamp) -> Result<TokenSet, TokenRefusal> {
        let access = self
            .access_token
            .as_deref()
            .filter(|token| !token.is_empty());
        let access = access.ok_or(TokenRefusal::AccessToken)?;
        let token_type = self.token_type.as_str().unwrap_or_default();
        if !token_type.eq_ignore_ascii_case("DPoP") {
            return Err(TokenRefusal::TokenType);
        }
        let sub = self
            .sub
            .as_str()
            .and_then(|sub| Did::parse(sub).ok())
            .ok_or(TokenRefusal::Sub)?;
        let scope = self
            .scope
            .as_str()
            .and_then(|scope| ScopeSet::parse(scope).ok());
        let scope = scope
            .filter(|scope| scope.contains(&Scope::Atproto))
            .ok_or(TokenRefusal::Scope)?;
        // 0 is a token to be refreshed before its first use.
        let lifetime = self.expires_in.as_u64();
        let lifetime = lifetime.ok_or(TokenRefusal::ExpiresIn)?.min(MAX_LIFETIME);
        Ok(TokenSet {
            access: access.into(),
            refresh: self.refresh_token.as_deref().map(SecretString::from),
            asked_at,
            expires_at: asked_at + Duration::from_secs(lifetime),
            scope,
            sub,
        })
    }
}
