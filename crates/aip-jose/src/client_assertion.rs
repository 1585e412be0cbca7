//! Client assertions, `private_key_jwt` (RFC 7523 §2.2 and §3, OpenID Connect Core §9): made
//! towards PDSs, verified when apps authenticate with a key.

use std::time::Duration;

use aip_base::{Rng, Timestamp, random_token};
use serde::{Deserialize, Serialize};

use crate::jws::{JwsError, UnverifiedJws, sign_jwt};
use crate::{Alg, Audience, NumericDate, PublicJwk, SignError, SigningKey};

/// The `client_assertion_type` that goes with every assertion.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion of ours lives for a minute: it is used at once.
const LIFETIME: Duration = Duration::from_mins(1);

/// An assertion that lives longer than this is refused: its `jti` would have to be kept as long.
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// PDSs refuse what was made a minute ago, and what will be made in half a minute. Between the two
/// there is room for a clock that is half a minute off in either direction.
const BACKDATED: Duration = Duration::from_secs(20);

/// How far the clocks of clients may be ahead or behind.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// Longer `jti`s are refused, as each is stored until its assertion has expired.
const MAX_JTI: usize = 256;

/// The types that RFC 7523 and its revision allow; a token of any other type is none.
const TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];

/// What an assertion must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The client that it must be from.
    pub client_id: &'a str,
    /// The values of `aud` of which one must be named, and no other: the issuer, and where
    /// older clients are let in, the URL of the endpoint.
    pub audiences: &'a [&'a str],
    /// Whether the one audience may be written as an array of one, too.
    pub audience_in_array: bool,
    /// The present instant.
    pub now: Timestamp,
}

/// What a valid assertion says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// The assertion's id, to be accepted once per client.
    pub jti: String,
    /// Until when the `jti` must be remembered.
    pub expires: Timestamp,
}

/// Why an assertion is refused: `invalid_client` towards the app, whatever it is.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    /// Not a token, or not signed by the key.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// A token for another purpose.
    #[error("the type of the token is not that of a client assertion")]
    Typ,
    /// `iss` or `sub` is not the client.
    #[error("`iss` and `sub` are not both the client_id")]
    Client,
    /// Made for another server, or for several.
    #[error("`aud` is not this server alone")]
    Audience,
    /// `exp` has passed.
    #[error("the assertion has expired")]
    Expired,
    /// `exp` is too far away.
    #[error("the assertion lives longer than an hour")]
    LivesTooLong,
    /// `nbf` or `iat` lies in the future.
    #[error("the assertion is not valid yet")]
    NotYet,
    /// The `jti` is empty or too long.
    #[error("the `jti` is empty or longer than {MAX_JTI} characters")]
    Jti,
}

#[derive(Serialize)]
struct ClaimsOut<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: NumericDate,
    exp: NumericDate,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<ConfirmationOut<'a>>,
}

/// RFC 9449 §6.
#[derive(Serialize)]
struct ConfirmationOut<'a> {
    jkt: &'a str,
}

#[derive(Deserialize)]
struct ClaimsIn {
    iss: String,
    sub: String,
    aud: Audience,
    jti: String,
    exp: NumericDate,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
}

/// Makes an assertion of `client_id` for the authorization server `issuer`. Every request needs
/// a new one.
pub fn make(
    key: &SigningKey,
    rng: &dyn Rng,
    now: Timestamp,
    client_id: &str,
    issuer: &str,
) -> Result<String, SignError> {
    sign(key, rng, now, client_id, issuer, None)
}

/// Makes one that the authorization server takes with DPoP proofs of the key with the thumbprint `jkt`
/// alone (AT Protocol proposal 0010, "Specification").
pub fn make_bound(
    key: &SigningKey,
    rng: &dyn Rng,
    now: Timestamp,
    client_id: &str,
    issuer: &str,
    jkt: &str,
) -> Result<String, SignError> {
    sign(key, rng, now, client_id, issuer, Some(jkt))
}

fn sign(
    key: &SigningKey,
    rng: &dyn Rng,
    now: Timestamp,
    client_id: &str,
    issuer: &str,
    jkt: Option<&str>,
) -> Result<String, SignError> {
    let claims = ClaimsOut {
        iss: client_id,
        sub: client_id,
        aud: issuer,
        jti: random_token::<16>(rng),
        iat: (now - BACKDATED).into(),
        exp: (now + LIFETIME).into(),
        cnf: jkt.map(|jkt| ConfirmationOut { jkt }),
    };
    sign_jwt(key, TYPES[0], &claims)
}

/// The client that the assertion claims to be from, unproved: to look up its keys.
pub fn claimed_client(assertion: &UnverifiedJws) -> Result<String, JwsError> {
    #[derive(Deserialize)]
    struct Subject {
        sub: String,
    }

    assertion.unverified_claims().map(|Subject { sub }| sub)
}

/// Verifies `assertion` with `key`, which is one of the client's, and `alg`, which the client
/// is registered with.
pub fn verify(
    assertion: UnverifiedJws,
    key: &PublicJwk,
    alg: Alg,
    expected: &Expected<'_>,
) -> Result<VerifiedAssertion, AssertionError> {
    let header = assertion.header();
    if header.typ.is_some() && !TYPES.iter().any(|typ| header.is_typ(typ)) {
        return Err(AssertionError::Typ);
    }
    let claims: ClaimsIn = assertion.verify(key, alg)?.claims()?;
    if claims.iss != expected.client_id || claims.sub != expected.client_id {
        return Err(AssertionError::Client);
    }
    let audience = match &claims.aud {
        Audience::Many(_) if !expected.audience_in_array => None,
        audience => audience.single(),
    };
    if !audience.is_some_and(|aud| expected.audiences.contains(&aud)) {
        return Err(AssertionError::Audience);
    }
    let expires = claims.exp.timestamp() + CLOCK_SKEW;
    if expires <= expected.now {
        return Err(AssertionError::Expired);
    }
    if claims.exp.timestamp() > expected.now + MAX_LIFETIME {
        return Err(AssertionError::LivesTooLong);
    }
    let starts = [claims.nbf, claims.iat];
    if starts
        .into_iter()
        .flatten()
        .any(|at| at.timestamp() > expected.now + CLOCK_SKEW)
    {
        return Err(AssertionError::NotYet);
    }
    if claims.jti.is_empty() || claims.jti.len() > MAX_JTI {
        return Err(AssertionError::Jti);
    }
    Ok(VerifiedAssertion {
        jti: claims.jti,
        expires,
    })
}
