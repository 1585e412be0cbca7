//! The public half of a key, parsed once and checked to be a valid point or modulus.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use k256::ecdsa::signature::Verifier as _;

use super::ed25519;
use crate::Alg;

/// A public key, ready to verify.
#[derive(Clone)]
pub struct VerifyingKey {
    material: Material,
    parsed: Parsed,
}

/// The numbers of a public key, as a JWK writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Material {
    Ec {
        curve: Curve,
        x: [u8; 32],
        y: [u8; 32],
    },
    Rsa {
        padding: RsaPadding,
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Ed25519 {
        x: [u8; 32],
    },
}

/// How an RSA key signs. A key has one of them alone, so that none is taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RsaPadding {
    Pkcs1,
    Pss,
}

/// The curves of the AT Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    Secp256k1,
}

#[derive(Clone)]
enum Parsed {
    AwsLc(ParsedPublicKey),
    K256(k256::ecdsa::VerifyingKey),
}

/// The numbers are no public key: not a point of the curve, or no acceptable RSA modulus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid public key")]
pub(crate) struct NotAKey;

/// The signature does not belong to this message and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureError;

/// RSA moduli larger than 4096 bits cost the verifier more than any honest client needs.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// `SubjectPublicKeyInfo` of P-256: 26 bytes of algorithm, then the uncompressed point.
const P256_SPKI_PREFIX: usize = 26;

impl VerifyingKey {
    pub(crate) fn from_material(material: Material) -> Result<Self, NotAKey> {
        let parsed = match &material {
            Material::Ec { curve, x, y } => curve.parse(&uncompressed(x, y))?,
            Material::Rsa { padding, n, e } => Parsed::AwsLc(parse_rsa(*padding, n, e)?),
            Material::Ed25519 { x } => Parsed::AwsLc(ed25519::parse(x)?),
        };
        Ok(Self { material, parsed })
    }

    /// From a point in SEC 1 form, compressed or not.
    pub(crate) fn from_sec1(curve: Curve, point: &[u8]) -> Result<Self, NotAKey> {
        let parsed = curve.parse(point)?;
        let (x, y) = parsed.coordinates()?;
        Ok(Self {
            material: Material::Ec { curve, x, y },
            parsed,
        })
    }

    pub(crate) fn material(&self) -> &Material {
        &self.material
    }

    /// The one algorithm of this key.
    pub fn alg(&self) -> Alg {
        match self.material {
            Material::Ec { curve, .. } => curve.alg(),
            Material::Rsa { padding, .. } => padding.alg(),
            Material::Ed25519 { .. } => Alg::EdDsa,
        }
    }

    /// Verifies `signature` (`r ‖ s` for ECDSA) over `message`.
    ///
    /// ECDSA signatures are accepted with either `s`: JWS (RFC 7518 §3.4) knows no low-S rule.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        match &self.parsed {
            Parsed::AwsLc(key) => key
                .verify_sig(message, signature)
                .map_err(|_| SignatureError),
            Parsed::K256(key) => k256::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| key.verify(message, &signature.normalize_s()))
                .map_err(|_| SignatureError),
        }
    }
}

impl RsaPadding {
    const fn alg(self) -> Alg {
        match self {
            Self::Pkcs1 => Alg::Rs256,
            Self::Pss => Alg::Ps256,
        }
    }
}

impl Curve {
    pub(crate) const fn alg(self) -> Alg {
        match self {
            Self::P256 => Alg::Es256,
            Self::Secp256k1 => Alg::Es256k,
        }
    }

    /// The `crv` member (RFC 7518 §6.2.1.1, RFC 8812 §3.1).
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::Secp256k1 => "secp256k1",
        }
    }

    /// Half of the order of the curve, rounded down, big-endian (SEC 2 §2.4.1 and §2.4.2).
    const fn half_order(self) -> [u8; 32] {
        match self {
            Self::P256 => [
                0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61,
                0x7e, 0x31, 0x92, 0xa8,
            ],
            Self::Secp256k1 => [
                0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46,
                0x68, 0x1b, 0x20, 0xa0,
            ],
        }
    }

    fn parse(self, point: &[u8]) -> Result<Parsed, NotAKey> {
        match self {
            Self::P256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .map(Parsed::AwsLc)
                .map_err(|_| NotAKey),
            Self::Secp256k1 => k256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .map(Parsed::K256)
                .map_err(|_| NotAKey),
        }
    }
}

/// Whether `signature` (`r ‖ s`) has the lower of the two `s` that verify; `true` where the algorithm
/// has no such pair. A signature of another length never verifies.
pub(crate) fn has_low_s(alg: Alg, signature: &[u8]) -> bool {
    let curves = [Curve::P256, Curve::Secp256k1];
    let Some(curve) = curves.into_iter().find(|curve| curve.alg() == alg) else {
        return true;
    };
    signature
        .get(32..)
        .is_some_and(|s| s <= curve.half_order().as_slice())
}

impl Parsed {
    fn coordinates(&self) -> Result<([u8; 32], [u8; 32]), NotAKey> {
        match self {
            Self::AwsLc(key) => {
                let spki: PublicKeyX509Der<'_> = key.as_der().map_err(|_| NotAKey)?;
                split_uncompressed(spki.as_ref().get(P256_SPKI_PREFIX..).unwrap_or_default())
            }
            Self::K256(key) => split_uncompressed(key.to_sec1_point(false).as_bytes()),
        }
    }
}

pub(crate) fn uncompressed(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
    let mut point = [4; 65];
    point[1..33].copy_from_slice(x);
    point[33..].copy_from_slice(y);
    point
}

fn split_uncompressed(point: &[u8]) -> Result<([u8; 32], [u8; 32]), NotAKey> {
    match point.split_first() {
        Some((4, xy)) if xy.len() == 64 => {
            let (x, y) = xy.split_at(32);
            Ok((
                x.try_into().map_err(|_| NotAKey)?,
                y.try_into().map_err(|_| NotAKey)?,
            ))
        }
        _ => Err(NotAKey),
    }
}

fn parse_rsa(padding: RsaPadding, n: &[u8], e: &[u8]) -> Result<ParsedPublicKey, NotAKey> {
    if !RSA_MODULUS_BYTES.contains(&n.len()) || e.len() > 4 {
        return Err(NotAKey);
    }
    // RFC 7518 §3.5: the salt of PS256 is as long as the hash, which is what the library takes.
    let parameters = match padding {
        RsaPadding::Pkcs1 => &RSA_PKCS1_2048_8192_SHA256,
        RsaPadding::Pss => &RSA_PSS_2048_8192_SHA256,
    };
    RsaPublicKeyComponents { n, e }
        .to_parsed_public_key(parameters)
        .map_err(|_| NotAKey)
}
