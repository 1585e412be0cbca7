//! The private half of a key: generated here or imported from a private JWK, never shown.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::encoding::{
    AsBigEndian as _, AsDer as _, Curve25519SeedBin, EcPrivateKeyBin, Pkcs8V1Der,
};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use k256::ecdsa::signature::Signer as _;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::private_jwk::{self, PrivateMembers};
use super::rsa_der::{self, RsaNumbers};
use super::verifying::{Curve, Material, NotAKey, RsaPadding, VerifyingKey};
use crate::json::{self, JsonError};
use crate::jwk::{JwkError, PublicJwk, RawJwk};
use crate::{Alg, MultikeyError, multikey};

/// A private key that signs with its one algorithm.
pub struct SigningKey {
    private: Private,
    public: PublicJwk,
    /// The header of its DPoP proofs, once it has made one.
    dpop_header: OnceLock<String>,
}

pub(super) enum Private {
    P256(EcdsaKeyPair),
    Secp256k1(k256::ecdsa::SigningKey),
    Rsa(RsaPadding, RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The JSON is not a JWK.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The public members are not those of a supported key.
    #[error(transparent)]
    Jwk(#[from] JwkError),
    /// The text is not the private `did:key` of a P-256 key.
    #[error("not the private did:key of a P-256 key: {0}")]
    DidKey(#[from] MultikeyError),
    /// The private members are missing, malformed or belong to another public key.
    #[error("the private members do not fit the public key")]
    Private,
    /// The crypto library could not generate or export a key.
    #[error("the crypto library refused to {0} a key")]
    Library(&'static str),
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The crypto library refused.
    #[error("the crypto library refused to sign")]
    Library,
    /// The claims could not be written as JSON.
    #[error("the claims are not serialisable: {0}")]
    Claims(#[from] serde_json::Error),
}

impl SigningKey {
    fn new(private: Private, public: PublicJwk) -> Self {
        Self {
            private,
            public,
            dpop_header: OnceLock::new(),
        }
    }

    /// The header of its DPoP proofs (RFC 9449 §4.2), encoded; `make` makes it for the first of them.
    pub(crate) fn dpop_header(
        &self,
        make: impl FnOnce() -> Result<String, SignError>,
    ) -> Result<&str, SignError> {
        if let Some(header) = self.dpop_header.get() {
            return Ok(header);
        }
        let header = make()?;
        Ok(self.dpop_header.get_or_init(|| header))
    }

    /// A fresh key. RSA keys have 2048 bits.
    ///
    /// The randomness is the crypto library's own: it takes no other for key generation.
    pub fn generate(alg: Alg, kid: Option<String>) -> Result<Self, KeyError> {
        let failed = KeyError::Library("generate");
        let private = match alg {
            Alg::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .map(Private::P256)
                .map_err(|_| failed)?,
            Alg::Es256k => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256K1_SHA256_FIXED_SIGNING)
                    .map_err(|_| KeyError::Library("generate"))?;
                let scalar: EcPrivateKeyBin<'_> = pair
                    .private_key()
                    .as_be_bytes()
                    .map_err(|_| KeyError::Library("export"))?;
                k256::ecdsa::SigningKey::from_slice(scalar.as_ref())
                    .map(Private::Secp256k1)
                    .map_err(|_| failed)?
            }
            Alg::Rs256 => Private::generate_rsa(RsaPadding::Pkcs1)?,
            Alg::Ps256 => Private::generate_rsa(RsaPadding::Pss)?,
            Alg::EdDsa => Ed25519KeyPair::generate()
                .map(Private::Ed25519)
                .map_err(|_| failed)?,
        };
        let key = private
            .public()
            .map_err(|NotAKey| KeyError::Library("export"))?;
        Ok(Self::new(private, PublicJwk::new(key, kid)))
    }

    /// Imports a private JWK. The private members must belong to the public ones.
    pub fn from_jwk_json(jwk: &str) -> Result<Self, KeyError> {
        let raw: RawJwk = json::parse(jwk.as_bytes())?;
        let public = raw.into_public_half()?;
        let members: PrivateMembers = json::parse(jwk.as_bytes())?;
        let private = members
            .into_private(public.verifying_key().material())
            .ok_or(KeyError::Private)?;
        Ok(Self::new(private, public))
    }

    /// Exports the key as a private JWK, to be sealed or written to a file of mode 0600.
    pub fn to_private_jwk_json(&self) -> Result<SecretString, KeyError> {
        private_jwk::write(&self.private, &self.public).ok_or(KeyError::Library("export"))
    }

    /// Exports a key of a curve as a private `did:key`, the form in which some AT Protocol
    /// libraries take keys; `None` for RSA and Ed25519, which those do not take.
    pub fn to_private_did_key(&self) -> Option<SecretString> {
        let scalar = self.private.scalar()?;
        Some(multikey::private_did_key(self.alg(), &scalar)?.into())
    }

    /// Imports a private `did:key` of a P-256 key (multicodec `p256-priv`, 0x1306), the form in which
    /// some AT Protocol libraries keep keys. Without a `kid`, it gets the public `did:key`, which those
    /// libraries use for one.
    pub fn from_private_did_key(did: &str, kid: Option<String>) -> Result<Self, KeyError> {
        let scalar = multikey::p256_scalar(did)?;
        let key = PrivateKey::from_private_key(&ECDH_P256, scalar.as_slice())
            .map_err(|_| KeyError::Private)?;
        let point = key.compute_public_key().map_err(|_| KeyError::Private)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            scalar.as_slice(),
            point.as_ref(),
        )
        .map_err(|_| KeyError::Private)?;
        let private = Private::P256(pair);
        let key = private.public().map_err(|NotAKey| KeyError::Private)?;
        let kid = match kid {
            Some(kid) => Some(kid),
            None => multikey::format(&key).map(|multikey| format!("did:key:{multikey}")),
        };
        Ok(Self::new(private, PublicJwk::new(key, kid)))
    }

    /// The one algorithm of this key.
    pub fn alg(&self) -> Alg {
        self.public.alg()
    }

    /// The key's id, if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.public.kid()
    }

    /// The public half.
    pub fn public(&self) -> &PublicJwk {
        &self.public
    }

    /// Signs `message`: `r ‖ s` for ECDSA (RFC 7518 §3.4), with a low `s` for ES256K, which
    /// the AT Protocol asks for.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.private {
            Private::P256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Library),
            Private::Secp256k1(key) => {
                let signature: k256::ecdsa::Signature =
                    key.try_sign(message).map_err(|_| SignError::Library)?;
                Ok(signature.to_vec())
            }
            Private::Rsa(padding, pair) => {
                let encoding: &'static dyn RsaEncoding = match padding {
                    RsaPadding::Pkcs1 => &RSA_PKCS1_SHA256,
                    RsaPadding::Pss => &RSA_PSS_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| SignError::Library)?;
                Ok(signature)
            }
            Private::Ed25519(pair) => pair
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Library),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("alg", &self.alg())
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

impl Private {
    fn generate_rsa(padding: RsaPadding) -> Result<Self, KeyError> {
        RsaKeyPair::generate(KeySize::Rsa2048)
            .map(|pair| Self::Rsa(padding, pair))
            .map_err(|_| KeyError::Library("generate"))
    }

    fn public(&self) -> Result<VerifyingKey, NotAKey> {
        match self {
            Self::P256(pair) => VerifyingKey::from_sec1(Curve::P256, pair.public_key().as_ref()),
            Self::Secp256k1(key) => VerifyingKey::from_sec1(
                Curve::Secp256k1,
                key.verifying_key().to_sec1_point(false).as_bytes(),
            ),
            Self::Rsa(padding, pair) => {
                let numbers = rsa_numbers(pair).ok_or(NotAKey)?;
                VerifyingKey::from_material(Material::Rsa {
                    padding: *padding,
                    n: numbers.n,
                    e: numbers.e,
                })
            }
            Self::Ed25519(pair) => {
                let x = pair.public_key().as_ref();
                let x = x.try_into().map_err(|_| NotAKey)?;
                VerifyingKey::from_material(Material::Ed25519 { x })
            }
        }
    }

    /// The member `d` of a key of a curve: the private number, or the seed of Ed25519.
    pub(super) fn scalar(&self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::P256(pair) => {
                let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
                Some(Zeroizing::new(scalar.as_ref().to_vec()))
            }
            Self::Secp256k1(key) => Some(Zeroizing::new(key.to_bytes().to_vec())),
            Self::Ed25519(pair) => {
                let seed: Curve25519SeedBin<'_> = pair.seed().ok()?.as_be_bytes().ok()?;
                Some(Zeroizing::new(seed.as_ref().to_vec()))
            }
            Self::Rsa(..) => None,
        }
    }
}

pub(super) fn rsa_numbers(pair: &RsaKeyPair) -> Option<RsaNumbers> {
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    rsa_der::parse_pkcs8(pkcs8.as_ref())
}
