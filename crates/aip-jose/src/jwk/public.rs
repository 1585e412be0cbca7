//! A public key with its id. There is no way to put a private member into one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Thumbprint;
use super::raw::{JwkError, RawJwk};
use crate::key::{Material, VerifyingKey};
use crate::{Alg, MultikeyError, json, multikey};

/// A public key for signatures, as published in a JWK Set or in the header of a DPoP proof.
#[derive(Clone)]
pub struct PublicJwk {
    key: VerifyingKey,
    kid: Option<String>,
}

/// The members that make the key, in the lexicographic order that RFC 7638 §3 hashes.
#[derive(Serialize)]
pub(crate) struct RequiredMembers {
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    kty: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

/// A published key.
#[derive(Serialize)]
struct AllMembers<'a> {
    #[serde(flatten)]
    required: RequiredMembers,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    alg: &'static str,
    #[serde(rename = "use")]
    key_use: &'static str,
}

impl PublicJwk {
    pub(crate) fn new(key: VerifyingKey, kid: Option<String>) -> Self {
        Self { key, kid }
    }

    /// Parses a public JWK; one with a private member (`d`, `p`, `k`, …) is refused.
    pub fn from_json(jwk: &str) -> Result<Self, JwkError> {
        json::parse::<RawJwk>(jwk.as_bytes())
            .map_err(|_| JwkError::Malformed)?
            .into_public()
    }

    /// Parses a multibase multikey (`zDn…`, `zQ3…`), as DID documents carry it.
    pub fn from_multikey(multikey: &str) -> Result<Self, MultikeyError> {
        multikey::parse(multikey).map(|key| Self::new(key, None))
    }

    /// Parses a `did:key`.
    pub fn from_did_key(did: &str) -> Result<Self, MultikeyError> {
        did.strip_prefix("did:key:")
            .ok_or(MultikeyError::Malformed)
            .and_then(Self::from_multikey)
    }

    /// The multikey of a key of the AT Protocol; `None` for RSA and Ed25519.
    pub fn to_multikey(&self) -> Option<String> {
        multikey::format(&self.key)
    }

    /// The thumbprint (RFC 7638, SHA-256): the key's name that nobody can choose.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(&self.required_members())
    }

    /// The key itself.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The one algorithm of this key.
    pub fn alg(&self) -> Alg {
        self.key.alg()
    }

    /// The key's id, if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(crate) fn required_members(&self) -> RequiredMembers {
        let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        match self.key.material() {
            Material::Ec { curve, x, y } => RequiredMembers {
                crv: Some(curve.as_str()),
                e: None,
                kty: "EC",
                n: None,
                x: encode(x),
                y: encode(y),
            },
            Material::Rsa { padding: _, n, e } => RequiredMembers {
                crv: None,
                e: encode(e),
                kty: "RSA",
                n: encode(n),
                x: None,
                y: None,
            },
            // RFC 8037 §2.
            Material::Ed25519 { x } => RequiredMembers {
                crv: Some("Ed25519"),
                e: None,
                kty: "OKP",
                n: None,
                x: encode(x),
                y: None,
            },
        }
    }
}

impl fmt::Debug for PublicJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicJwk")
            .field("kid", &self.kid)
            .field("key", self.key.material())
            .finish()
    }
}

/// Equal keys with equal ids.
impl PartialEq for PublicJwk {
    fn eq(&self, other: &Self) -> bool {
        self.key.material() == other.key.material() && self.kid == other.kid
    }
}

impl Eq for PublicJwk {}

impl Serialize for PublicJwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AllMembers {
            required: self.required_members(),
            kid: self.kid(),
            alg: self.alg().as_str(),
            key_use: "sig",
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicJwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawJwk::deserialize(deserializer)?
            .into_public()
            .map_err(de::Error::custom)
    }
}
