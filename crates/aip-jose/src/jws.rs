//! Signed JSON Web Tokens in the compact form (RFC 7515 §7.1, RFC 7519), after RFC 8725:
//! the algorithm comes from the key, `crit` is refused, the type is the caller's to check.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::json::{self, JsonError};
use crate::jwk::{JwkError, MemberPresence, PublicJwk, RawJwk, RequiredMembers};
use crate::key::has_low_s;
use crate::{Alg, SignError, SigningKey};

/// Longer tokens are refused before anything is decoded.
const MAX_TOKEN: usize = 16 * 1024;

/// Two dots and a signature of ES256, in base64url.
const SIGNATURE_CHARS: usize = 88;

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum JwsError {
    /// Longer than 16 KiB.
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// Not three parts of unpadded base64url.
    #[error("not a compact JWS: three parts of unpadded base64url")]
    Malformed,
    /// The header is not a JSON object with known types, or it names a member twice.
    #[error("the header is malformed: {0}")]
    Header(#[source] JsonError),
    /// `none`, a MAC, or another algorithm that AIP does not verify.
    #[error("the algorithm of the token is not supported")]
    UnsupportedAlg,
    /// An extension that must be understood, and is not.
    #[error("the header has critical extensions")]
    Critical,
    /// The header's `jwk` is not a supported public key.
    #[error("the key in the header is refused: {0}")]
    Jwk(#[from] JwkError),
    /// The token was signed with another algorithm than was agreed on.
    #[error("the token is signed with {found}, not with {expected}")]
    AlgMismatch {
        /// What was agreed on.
        expected: Alg,
        /// What the header says.
        found: Alg,
    },
    /// The signature is not that of the key.
    #[error("the signature does not verify")]
    Signature,
    /// The claims are not what was asked for, or a member is named twice.
    #[error("the claims are malformed: {0}")]
    Claims(#[source] JsonError),
}

/// The header of a token.
#[derive(Debug, Clone)]
pub struct JwsHeader {
    /// The algorithm that the signer says it used.
    pub alg: Alg,
    /// The type, as written.
    pub typ: Option<String>,
    /// The id of the key.
    pub kid: Option<String>,
    /// The public key that came along, as in DPoP proofs. Trust it only after deciding to.
    pub jwk: Option<PublicJwk>,
}

/// A well-formed token of which nothing is proved yet.
#[derive(Clone)]
pub struct UnverifiedJws {
    header: JwsHeader,
    signing_input: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// A token whose signature verified. Only [`UnverifiedJws::verify`] makes one.
pub struct VerifiedJws {
    header: JwsHeader,
    payload: Vec<u8>,
}

#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    jwk: Option<RawJwk>,
    #[serde(default)]
    crit: MemberPresence,
}

#[derive(Serialize)]
struct HeaderOut<'a> {
    alg: &'static str,
    typ: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<RequiredMembers>,
}

/// Signs `claims` as a token of type `typ`, with the key's `kid` in the header.
pub fn sign_jwt(key: &SigningKey, typ: &str, claims: &impl Serialize) -> Result<String, SignError> {
    let header = HeaderOut {
        alg: key.alg().as_str(),
        typ,
        kid: key.kid(),
        jwk: None,
    };
    sign(key, &encoded(&header)?, claims)
}

/// Signs `claims` as a token of type `typ`, with the whole public key in the header.
pub fn sign_with_jwk_header(
    key: &SigningKey,
    typ: &str,
    claims: &impl Serialize,
) -> Result<String, SignError> {
    sign(key, &header_with_jwk(key, typ)?, claims)
}

/// The first part of such a token, which is the same for all tokens of the key.
pub(crate) fn header_with_jwk(key: &SigningKey, typ: &str) -> Result<String, SignError> {
    let jwk = Some(key.public().required_members());
    let header = HeaderOut {
        alg: key.alg().as_str(),
        typ,
        kid: None,
        jwk,
    };
    encoded(&header)
}

fn encoded(header: &HeaderOut<'_>) -> Result<String, SignError> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(header)?))
}

/// Signs `claims` under a header that is encoded already.
pub(crate) fn sign(
    key: &SigningKey,
    header: &str,
    claims: &impl Serialize,
) -> Result<String, SignError> {
    let claims = serde_json::to_vec(claims)?;
    let mut token = String::with_capacity(header.len() + 2 * claims.len() + SIGNATURE_CHARS);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

impl UnverifiedJws {
    /// Takes a compact token apart. Its claims prove nothing before [`Self::verify`].
    pub fn parse(token: &str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN {
            return Err(JwsError::TooLong);
        }
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| JwsError::Malformed)
        };
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Malformed)?;
        let raw: RawHeader = json::parse(&decode(header)?).map_err(JwsError::Header)?;
        if raw.crit.0 {
            return Err(JwsError::Critical);
        }
        let alg = Alg::from_str(&raw.alg).map_err(|_| JwsError::UnsupportedAlg)?;
        let jwk = raw.jwk.map(|jwk| jwk.used_with(alg).into_public());
        let header = JwsHeader {
            alg,
            typ: raw.typ,
            kid: raw.kid,
            jwk: jwk.transpose()?,
        };
        Ok(Self {
            header,
            payload: decode(payload)?,
            signature: decode(signature)?,
            signing_input: signing_input.to_owned(),
        })
    }

    /// The header.
    pub fn header(&self) -> &JwsHeader {
        &self.header
    }

    /// The claims, unproved: only to find out whose key to verify with.
    pub fn unverified_claims<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        json::parse(&self.payload).map_err(JwsError::Claims)
    }

    /// Whether an ECDSA signature has the lower of its two possible `s`, the only one that the AT
    /// Protocol allows (<https://atproto.com/specs/cryptography>); `true` for every other algorithm.
    pub fn has_low_s(&self) -> bool {
        has_low_s(self.header.alg, &self.signature)
    }

    /// Verifies the signature with `key`, which must be of the `expected` algorithm, as must the
    /// header: neither alone decides.
    pub fn verify(self, key: &PublicJwk, expected: Alg) -> Result<VerifiedJws, JwsError> {
        for found in [key.alg(), self.header.alg] {
            if found != expected {
                return Err(JwsError::AlgMismatch { expected, found });
            }
        }
        key.verifying_key()
            .verify(self.signing_input.as_bytes(), &self.signature)
            .map_err(|_| JwsError::Signature)?;
        Ok(VerifiedJws {
            header: self.header,
            payload: self.payload,
        })
    }
}

impl VerifiedJws {
    /// The header.
    pub fn header(&self) -> &JwsHeader {
        &self.header
    }

    /// The payload as JSON. An error if it is no object, or lacks a member that `T` needs.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        json::parse(&self.payload).map_err(JwsError::Claims)
    }
}

impl JwsHeader {
    /// Whether the type is `typ`: any case, `application/` may be written out (RFC 7515 §4.1.9).
    pub fn is_typ(&self, typ: &str) -> bool {
        self.typ.as_deref().is_some_and(|found| {
            let bare = match found.split_at_checked("application/".len()) {
                Some((prefix, bare)) if prefix.eq_ignore_ascii_case("application/") => bare,
                _ => found,
            };
            bare.eq_ignore_ascii_case(typ)
        })
    }
}
