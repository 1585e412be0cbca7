//! A JWK as it comes in, before it is known to be a public key that AIP can use.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use crate::key::{Curve, Material, RsaPadding, VerifyingKey};
use crate::{Alg, PublicJwk};

/// Longer key ids are refused, as they end up in logs and columns.
const MAX_KID: usize = 256;

/// Why a JWK is not a public key that AIP can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not a JSON object with the members of a JWK.
    #[error("not a JSON Web Key")]
    Malformed,
    /// It carries a private or symmetric member: somebody is leaking a key.
    #[error("the key carries private members")]
    Private,
    /// Its type, curve, algorithm or use is none that AIP verifies with.
    #[error("the key's type, curve, algorithm or use is not supported")]
    Unsupported,
    /// A member is missing or malformed.
    #[error("the member `{0}` is missing or malformed")]
    Member(&'static str),
    /// The numbers are not a point of the curve or not an acceptable RSA key.
    #[error("the numbers are not a valid public key")]
    NotAKey,
}

/// The members AIP looks at. Unknown ones are ignored (RFC 7517 §4).
#[derive(Clone, Deserialize)]
pub(crate) struct RawJwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    key_use: Option<String>,
    #[serde(default)]
    d: MemberPresence,
    #[serde(default)]
    p: MemberPresence,
    #[serde(default)]
    q: MemberPresence,
    #[serde(default)]
    dp: MemberPresence,
    #[serde(default)]
    dq: MemberPresence,
    #[serde(default)]
    qi: MemberPresence,
    #[serde(default)]
    oth: MemberPresence,
    #[serde(default)]
    k: MemberPresence,
}

/// Whether a member is there, whatever its value: `"d": null` counts.
#[derive(Clone, Copy, Default)]
pub(crate) struct MemberPresence(pub(crate) bool);

impl RawJwk {
    /// The public key, provided that nothing private came along.
    pub(crate) fn into_public(self) -> Result<PublicJwk, JwkError> {
        let private = [
            &self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k,
        ];
        if private.iter().any(|member| member.0) {
            return Err(JwkError::Private);
        }
        self.into_public_half()
    }

    /// The public keys that it is in a set: `alg` is optional (RFC 7517 §4.4), and an RSA key without it
    /// may be used with either padding. Here a key has one of them.
    pub(crate) fn into_public_keys(self) -> Result<Vec<PublicJwk>, JwkError> {
        let other = (self.kty == "RSA" && self.alg.is_none()).then(|| Self {
            alg: Some(Alg::Ps256.as_str().to_owned()),
            ..self.clone()
        });
        let mut keys = vec![self.into_public()?];
        keys.extend(other.map(Self::into_public).transpose()?);
        Ok(keys)
    }

    /// The public half of a key that may be private.
    pub(crate) fn into_public_half(self) -> Result<PublicJwk, JwkError> {
        let material = match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => self.point(Curve::P256)?,
            ("EC", Some("secp256k1")) => self.point(Curve::Secp256k1)?,
            ("OKP", Some("Ed25519")) => Material::Ed25519 {
                x: coordinate("x", self.x.as_deref())?,
            },
            ("RSA", _) => Material::Rsa {
                padding: self.rsa_padding(),
                n: number("n", self.n.as_deref())?,
                e: number("e", self.e.as_deref())?,
            },
            _ => return Err(JwkError::Unsupported),
        };
        let key = VerifyingKey::from_material(material).map_err(|_| JwkError::NotAKey)?;
        let other_alg = self
            .alg
            .is_some_and(|alg| Alg::from_str(&alg) != Ok(key.alg()));
        let other_use = self.key_use.is_some_and(|key_use| key_use != "sig");
        if other_alg || other_use {
            return Err(JwkError::Unsupported);
        }
        if self.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(JwkError::Member("kid"));
        }
        Ok(PublicJwk::new(key, self.kid))
    }

    /// An RSA key for PS256 must not verify RS256: one algorithm per key. Without `alg` a single key is
    /// one for RS256.
    fn rsa_padding(&self) -> RsaPadding {
        match self.alg.as_deref() {
            Some(alg) if alg == Alg::Ps256.as_str() => RsaPadding::Pss,
            _ => RsaPadding::Pkcs1,
        }
    }

    /// The key of a header that says `alg`. A key that came along with the token it verifies needs
    /// not say how it is used: this use is the one there is (RFC 9449 §4.2 shows keys without `alg`).
    pub(crate) fn used_with(self, alg: Alg) -> Self {
        let alg = self.alg.or_else(|| match alg {
            Alg::Ps256 if self.kty == "RSA" => Some(alg.as_str().to_owned()),
            _ => None,
        });
        Self { alg, ..self }
    }

    fn point(&self, curve: Curve) -> Result<Material, JwkError> {
        let x = coordinate("x", self.x.as_deref())?;
        let y = coordinate("y", self.y.as_deref())?;
        Ok(Material::Ec { curve, x, y })
    }
}

impl<'de> Deserialize<'de> for MemberPresence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|IgnoredAny| Self(true))
    }
}

/// A coordinate has the full length of the field, leading zeros included (RFC 7518 §6.2.1.2).
fn coordinate(name: &'static str, text: Option<&str>) -> Result<[u8; 32], JwkError> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(JwkError::Member(name))
}

/// A number has no leading zeros (RFC 7518 §2, `Base64urlUInt`).
fn number(name: &'static str, text: Option<&str>) -> Result<Vec<u8>, JwkError> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .filter(|bytes| bytes.first().is_some_and(|first| *first != 0))
        .ok_or(JwkError::Member(name))
}
