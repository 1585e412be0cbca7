//! Service tokens of the AT Protocol, verified: an account calls a service in its own name, with a
//! token that is signed with the key of its DID document
//! (<https://atproto.com/specs/xrpc#inter-service-authentication-jwt>).
//!
//! Claims: `iss` (DID), `aud` (DID of the service, with or without `#service`), `lxm` (NSID of the
//! method), `exp`, `jti`; perhaps `iat` and `nbf`.

use std::time::Duration;

use aip_base::Timestamp;
use serde::Deserialize;

use crate::jws::{JwsError, UnverifiedJws};
use crate::{Audience, NumericDate, PublicJwk};

/// PDSs make tokens for a method that live for a minute, and for at most an hour if asked
/// (`com.atproto.server.getServiceAuth`).
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// How far the clocks of PDSs may be ahead or behind.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// Longer `jti`s are refused, as each is stored until its token has expired.
const MAX_JTI: usize = 256;

/// The type of a service token, which may be left out. Access, refresh and proof tokens name others.
const TYPE: &str = "JWT";

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The account whose key it is verified with.
    pub issuer: &'a str,
    /// The values of `aud` of which it has one: the DID of the service, bare and with `#service`.
    pub audiences: &'a [&'a str],
    /// The method that is called.
    pub method: &'a str,
    /// The present instant.
    pub now: Timestamp,
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedServiceToken {
    /// The token's id, to be accepted once per issuer.
    pub jti: String,
    /// Until when the `jti` must be remembered.
    pub expires: Timestamp,
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum ServiceTokenError {
    /// Not a token, or not signed by the key.
    #[error(transparent)]
    Token(#[from] JwsError),
    /// Another kind of token.
    #[error("the token is of another type than `JWT`")]
    Typ,
    /// The AT Protocol allows one of the two signatures alone ("Cryptography", ECDSA).
    #[error("the signature of the token has a high `s`")]
    HighS,
    /// From somebody else.
    #[error("`iss` is not the account whose key signed the token")]
    Issuer,
    /// For another service.
    #[error("`aud` is not this service")]
    Audience,
    /// For another method, or for any.
    #[error("`lxm` is not the method that is called")]
    Method,
    /// Too late.
    #[error("the token has expired")]
    Expired,
    /// It would have to be remembered for too long.
    #[error("the token lives for more than {} min", MAX_LIFETIME.as_secs() / 60)]
    LivesTooLong,
    /// Too early.
    #[error("the token is not valid yet")]
    NotYet,
    /// It could not be spent.
    #[error("`jti` is missing, or has more than {MAX_JTI} bytes")]
    Jti,
}

impl ServiceTokenError {
    /// Whether another key might be the right one: the issuer may have changed its key.
    pub fn is_of_key(&self) -> bool {
        matches!(
            self,
            Self::Token(JwsError::Signature | JwsError::AlgMismatch { .. })
        )
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    lxm: Option<String>,
    exp: NumericDate,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
    jti: Option<String>,
}

/// The account that the token claims to be from, unproved: to look up its key.
pub fn claimed_issuer(token: &UnverifiedJws) -> Result<String, JwsError> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }

    token.unverified_claims().map(|Issuer { iss }| iss)
}

/// Verifies `token` with `key`, which is the one of the issuer's DID document.
pub fn verify(
    token: UnverifiedJws,
    key: &PublicJwk,
    expected: &Expected<'_>,
) -> Result<VerifiedServiceToken, ServiceTokenError> {
    let header = token.header();
    if header.typ.is_some() && !header.is_typ(TYPE) {
        return Err(ServiceTokenError::Typ);
    }
    let has_low_s = token.has_low_s();
    let claims: Claims = token.verify(key, key.alg())?.claims()?;
    if !has_low_s {
        return Err(ServiceTokenError::HighS);
    }
    if claims.iss != expected.issuer {
        return Err(ServiceTokenError::Issuer);
    }
    // An array is no form that the AT Protocol knows.
    let audience = match &claims.aud {
        Audience::One(audience) => audience.as_str(),
        Audience::Many(_) => return Err(ServiceTokenError::Audience),
    };
    if !expected.audiences.contains(&audience) {
        return Err(ServiceTokenError::Audience);
    }
    if claims.lxm.as_deref() != Some(expected.method) {
        return Err(ServiceTokenError::Method);
    }
    let expires = claims.exp.timestamp() + CLOCK_SKEW;
    if expires <= expected.now {
        return Err(ServiceTokenError::Expired);
    }
    if claims.exp.timestamp() > expected.now + MAX_LIFETIME + CLOCK_SKEW {
        return Err(ServiceTokenError::LivesTooLong);
    }
    let starts = [claims.nbf, claims.iat];
    if starts
        .into_iter()
        .flatten()
        .any(|at| at.timestamp() > expected.now + CLOCK_SKEW)
    {
        return Err(ServiceTokenError::NotYet);
    }
    let jti = claims.jti.unwrap_or_default();
    if jti.is_empty() || jti.len() > MAX_JTI {
        return Err(ServiceTokenError::Jti);
    }
    Ok(VerifiedServiceToken { jti, expires })
}
