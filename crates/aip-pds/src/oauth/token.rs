//! Token responses of an authorization server (RFC 6749 §5.1) and what the AT Protocol demands of
//! them (<https://atproto.com/specs/oauth#tokens-and-session-lifetime>).
//!
//! A sign-in may be refused for what its answer says: nothing is lost but the sign-in. A refresh
//! may not, because the token before it is spent: see [`Received::renewed`].

use std::time::Duration;

use aip_atproto::{Did, Scope, ScopeSet};
use aip_base::{Timestamp, excerpt};
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::lifetime::usable_until;
use crate::members::members;

/// No access token is believed to live longer than this.
const MAX_LIFETIME: f64 = 30.0 * 24.0 * 3600.0;
/// What is believed of an access token without a usable `expires_in`, which RFC 6749 §5.1 only
/// recommends: the shortest lifetime that the AT Protocol suggests.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);

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

/// Why a token response is not used. The words are for people too; what the server wrote is cut
/// and escaped in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No JSON object.
    #[error("the server's token answer is not readable as JSON")]
    Unreadable,
    /// A member is missing.
    #[error("the server's token answer lacks `{0}`")]
    Lacks(&'static str),
    /// Not bound to our key.
    #[error("the server's token answer has the `token_type` `{0}` instead of `DPoP`")]
    TokenType(String),
    /// The access token cannot be sent in a header.
    #[error("the server's token answer has an `access_token` with characters that none may have")]
    AccessToken,
    /// `sub` is no DID.
    #[error("the server's token answer has the `sub` `{0}`, which is no DID")]
    Sub(String),
    /// `scope` is unreadable or lacks `atproto`.
    #[error("the server's token answer has the `scope` `{0}`, which does not contain `atproto`")]
    Scope(String),
}

impl TokenSet {
    /// The instant from which on the access token must not be used.
    pub fn usable_until(&self) -> Timestamp {
        usable_until(self.asked_at, self.expires_at)
    }
}

/// A token response before it is judged.
pub(super) struct Received(Map<String, Value>);

impl Received {
    pub(super) fn parse(body: &[u8]) -> Result<Self, TokenRefusal> {
        members(body).map(Self).ok_or(TokenRefusal::Unreadable)
    }

    /// The token whose revocation ends the session.
    pub(super) fn revocable(&self) -> Option<SecretString> {
        self.refresh_token()
            .or_else(|| self.text("access_token").map(SecretString::from))
    }

    /// The refresh token, whatever the rest is.
    pub(super) fn refresh_token(&self) -> Option<SecretString> {
        self.text("refresh_token").map(SecretString::from)
    }

    /// The account, if it is one other than `did`.
    pub(super) fn other_account(&self, did: &Did) -> Option<Did> {
        self.sub().ok().filter(|sub| sub != did)
    }

    /// The tokens of a sign-in whose code was sent at `sent_at`: every member that the AT Protocol
    /// demands must be there.
    pub(super) fn signed_in(&self, sent_at: Timestamp) -> Result<TokenSet, TokenRefusal> {
        let access = self.access_token()?;
        let token_type = self.text("token_type").ok_or(self.unusable("token_type"))?;
        if !token_type.eq_ignore_ascii_case("DPoP") {
            return Err(TokenRefusal::TokenType(excerpt(token_type)));
        }
        let scope = self.scope()?.ok_or(TokenRefusal::Lacks("scope"))?;
        if !scope.contains(&Scope::Atproto) {
            return Err(TokenRefusal::Scope(excerpt(&scope.to_string())));
        }
        Ok(TokenSet {
            access,
            refresh: self.refresh_token(),
            asked_at: sent_at,
            expires_at: sent_at + self.lifetime(),
            scope,
            sub: self.sub()?,
        })
    }

    /// The tokens of a refresh that was sent at `sent_at`, for the account and with the scope of
    /// before where the answer does not say anything (RFC 6749 §5.1, §6). The session is bound to
    /// its `DPoP` key whatever `token_type` is: the token is used with it or not at all.
    pub(super) fn renewed(
        &self,
        sent_at: Timestamp,
        did: &Did,
        before: &ScopeSet,
    ) -> Result<TokenSet, TokenRefusal> {
        let access = self.access_token()?;
        match self.sub() {
            Ok(_) | Err(TokenRefusal::Lacks(_)) => {}
            Err(refusal) => return Err(refusal),
        }
        let token_type = self.text("token_type").unwrap_or("DPoP");
        if !token_type.eq_ignore_ascii_case("DPoP") {
            let token_type = excerpt(token_type);
            tracing::warn!(%did, token_type, "token response to a refresh has a token_type other than DPoP");
        }
        // A scope that cannot be read or is none at all is a mistake, and not a grant of nothing.
        let scope = self.scope().ok().flatten();
        let scope = scope.filter(|scope| scope.contains(&Scope::Atproto));
        Ok(TokenSet {
            access,
            refresh: self.refresh_token(),
            asked_at: sent_at,
            expires_at: sent_at + self.lifetime(),
            scope: scope.unwrap_or_else(|| before.clone()),
            sub: did.clone(),
        })
    }

    /// A member that is a string with something in it.
    fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn unusable(&self, name: &'static str) -> TokenRefusal {
        match self.0.get(name) {
            None | Some(Value::Null) => TokenRefusal::Lacks(name),
            Some(value) => {
                let value = excerpt(&value.to_string());
                match name {
                    "token_type" => TokenRefusal::TokenType(value),
                    "sub" => TokenRefusal::Sub(value),
                    "scope" => TokenRefusal::Scope(value),
                    _ => TokenRefusal::Lacks(name),
                }
            }
        }
    }

    fn access_token(&self) -> Result<SecretString, TokenRefusal> {
        const NAME: &str = "access_token";
        let token = self.text(NAME).ok_or_else(|| self.unusable(NAME))?;
        // RFC 6749 §A.12.
        if !token.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(TokenRefusal::AccessToken);
        }
        Ok(token.into())
    }

    fn sub(&self) -> Result<Did, TokenRefusal> {
        let sub = self.text("sub").ok_or_else(|| self.unusable("sub"))?;
        Did::parse(sub).map_err(|_| TokenRefusal::Sub(excerpt(sub)))
    }

    fn scope(&self) -> Result<Option<ScopeSet>, TokenRefusal> {
        let Some(scope) = self.text("scope") else {
            return match self.unusable("scope") {
                TokenRefusal::Lacks(_) => Ok(None),
                refusal => Err(refusal),
            };
        };
        let parsed = ScopeSet::parse(scope).map_err(|_| TokenRefusal::Scope(excerpt(scope)))?;
        Ok(Some(parsed))
    }

    /// How long the access token lives: any JSON number, or the same in a string.
    fn lifetime(&self) -> Duration {
        let seconds = match self.0.get("expires_in") {
            Some(Value::Number(seconds)) => seconds.as_f64(),
            Some(Value::String(seconds)) => seconds.trim().parse().ok(),
            _ => None,
        };
        match seconds.filter(|seconds| !seconds.is_nan()) {
            Some(seconds) => Duration::from_secs_f64(seconds.clamp(0.0, MAX_LIFETIME).floor()),
            None => DEFAULT_LIFETIME,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lifetime_is_any_number_or_digits_and_five_minutes_without_one() {
        let secs = Duration::from_secs;
        for (expires_in, lifetime) in [
            (json!(900), secs(900)),
            (json!(900.9), secs(900)),
            (json!(9e2), secs(900)),
            (json!("900"), secs(900)),
            (json!(" 900.5 "), secs(900)),
            (json!(0), secs(0)),
            (json!(-900), secs(0)),
            (json!("-1"), secs(0)),
            (json!(u64::MAX), secs(30 * 24 * 3600)),
            (json!(1e300), secs(30 * 24 * 3600)),
            (json!("1e999"), secs(30 * 24 * 3600)),
            (json!("soon"), DEFAULT_LIFETIME),
            (json!("NaN"), DEFAULT_LIFETIME),
            (json!(""), DEFAULT_LIFETIME),
            (json!(true), DEFAULT_LIFETIME),
            (json!([900]), DEFAULT_LIFETIME),
            (Value::Null, DEFAULT_LIFETIME),
        ] {
            let body = json!({ "expires_in": expires_in }).to_string();
            let received = Received::parse(body.as_bytes()).unwrap();
            assert_eq!(received.lifetime(), lifetime, "{expires_in}");
        }
        let huge = Received::parse(br#"{"expires_in":123456789012345678901234567890}"#).unwrap();
        assert_eq!(huge.lifetime(), secs(30 * 24 * 3600));
    }
}
