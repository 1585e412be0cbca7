//! DPoP proofs (RFC 9449 §4): made towards PDSs, verified when apps send them.
//!
//! A verified proof still has to be fresh: the caller judges [`VerifiedProof::nonce`] and spends
//! [`VerifiedProof::jti`], both in state that all replicas share.

use std::borrow::Cow;
use std::time::Duration;

use aip_base::{Rng, Timestamp, random_token};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::jws::{self, JwsError, UnverifiedJws};
use crate::{Alg, NumericDate, SignError, SigningKey, Thumbprint};

/// The `typ` of every proof.
const TYP: &str = "dpop+jwt";

/// Longer `jti`s are refused, as each is stored until its proof is too old.
const MAX_JTI: usize = 256;

/// How far the clock of somebody who sends `nbf` may be ahead.
const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);

/// What a proof is to say about one request.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    /// The method of the request.
    pub htm: &'a str,
    /// The URL of the request; query and fragment are left out of the proof.
    pub htu: &'a str,
    /// The nonce last received from that server.
    pub nonce: Option<&'a str>,
    /// The access token that the request carries, at resource servers.
    pub access_token: Option<&'a str>,
}

/// What a proof must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The method of the request.
    pub htm: &'a str,
    /// The URL of the request as the world sees it, from the configured issuer, never from a
    /// header of the request.
    pub htu: &'a str,
    /// The present instant.
    pub now: Timestamp,
    /// How old a proof may be.
    pub max_age: Duration,
    /// How far a proof may be from the future, for clocks that are ahead.
    pub max_skew: Duration,
    /// The access token that came with the request, at resource endpoints.
    pub access_token: Option<&'a str>,
}

/// What a valid proof says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedProof {
    /// The thumbprint of the key whose possession is proved.
    pub jkt: Thumbprint,
    /// What the proof is signed with.
    pub alg: Alg,
    /// The proof's id, to be accepted once.
    pub jti: String,
    /// When the proof was made.
    pub iat: Timestamp,
    /// The nonce, to be judged by the caller.
    pub nonce: Option<String>,
}

/// Why a proof is refused: `invalid_dpop_proof` towards the app, whatever it is.
#[derive(Debug, thiserror::Error)]
pub enum DpopError {
    /// Not a token, or the signature is not that of the key in its header.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// Not of type `dpop+jwt`.
    #[error("the type of the proof is not `{TYP}`")]
    Typ,
    /// No `jwk` in the header.
    #[error("the proof carries no public key")]
    NoKey,
    /// The `jti` is empty or too long.
    #[error("the `jti` is empty or longer than {MAX_JTI} characters")]
    Jti,
    /// Made for another method.
    #[error("the proof is for another method")]
    Htm,
    /// Made for another URL.
    #[error("the proof is for another URL")]
    Htu,
    /// Made too long ago.
    #[error("the proof is too old")]
    TooOld,
    /// Made in the future.
    #[error("the proof is from the future")]
    InFuture,
    /// The proof says itself until when it holds.
    #[error("the proof has expired (`exp`)")]
    Expired,
    /// The proof says itself from when on it holds.
    #[error("the proof is not valid yet (`nbf`)")]
    NotYet,
    /// Made for another access token, or for none.
    #[error("the proof does not belong to the access token")]
    AccessToken,
}

#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    jti: Cow<'a, str>,
    htm: Cow<'a, str>,
    htu: Cow<'a, str>,
    iat: NumericDate,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
}

impl Proof<'_> {
    /// Makes the proof. Every attempt needs a new one, with a `jti` of its own.
    pub fn make(
        &self,
        key: &SigningKey,
        rng: &dyn Rng,
        now: Timestamp,
    ) -> Result<String, SignError> {
        let htu = self.htu.split(['?', '#']).next().unwrap_or_default();
        let claims = Claims {
            jti: random_token::<16>(rng).into(),
            htm: self.htm.into(),
            htu: htu.into(),
            iat: now.into(),
            exp: None,
            nbf: None,
            nonce: self.nonce.map(Into::into),
            ath: self.access_token.map(access_token_hash),
        };
        let header = key.dpop_header(|| jws::header_with_jwk(key, TYP))?;
        jws::sign(key, header, &claims)
    }
}

/// Verifies `proof` against the request it came with: the list of RFC 9449 §4.3, except for
/// "exactly one header" (before), and nonce and replay (after).
pub fn verify(proof: &str, expected: &Expected<'_>) -> Result<VerifiedProof, DpopError> {
    let jws = UnverifiedJws::parse(proof)?;
    if !jws.header().is_typ(TYP) {
        return Err(DpopError::Typ);
    }
    let key = jws.header().jwk.clone().ok_or(DpopError::NoKey)?;
    let alg = key.alg();
    let claims: Claims<'static> = jws.verify(&key, alg)?.claims()?;
    if claims.jti.is_empty() || claims.jti.len() > MAX_JTI {
        return Err(DpopError::Jti);
    }
    if claims.htm != expected.htm {
        return Err(DpopError::Htm);
    }
    if !same_target(&claims.htu, expected.htu) {
        return Err(DpopError::Htu);
    }
    let iat = claims.iat.timestamp();
    if expected.now.since(iat) > expected.max_age {
        return Err(DpopError::TooOld);
    }
    if iat.since(expected.now) > expected.max_skew {
        return Err(DpopError::InFuture);
    }
    // Neither claim is asked for, and whoever sends it means it (RFC 7519 §4.1.4 and §4.1.5).
    if claims
        .exp
        .is_some_and(|exp| exp.timestamp() <= expected.now)
    {
        return Err(DpopError::Expired);
    }
    if claims
        .nbf
        .is_some_and(|nbf| nbf.timestamp() > expected.now + NOT_BEFORE_LEEWAY)
    {
        return Err(DpopError::NotYet);
    }
    if let Some(token) = expected.access_token
        && claims.ath != Some(access_token_hash(token))
    {
        return Err(DpopError::AccessToken);
    }
    Ok(VerifiedProof {
        jkt: key.thumbprint(),
        alg,
        jti: claims.jti.into_owned(),
        iat,
        nonce: claims.nonce.map(Cow::into_owned),
    })
}

/// The `ath` claim (RFC 9449 §4.2).
fn access_token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))
}

/// Whether two URLs are the same after normalisation (RFC 3986 §6.2.2 and §6.2.3), query and
/// fragment aside.
fn same_target(found: &str, expected: &str) -> bool {
    let normalised = |url: &str| {
        let mut url = Url::parse(url).ok()?;
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    };
    normalised(found).is_some_and(|found| Some(found) == normalised(expected))
}
