//! The private half of a key: generated here or imported from a private JWK, never shown.

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k256::ecdsa::signature::Signer as _;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, de};
use zeroize::Zeroizing;

use super::rsa_der::{self, RsaNumbers};
use super::verifying::{Curve, Material, NotAKey, VerifyingKey, uncompressed};
use crate::json::{self, JsonError};
use crate::jwk::{JwkError, PublicJwk, RawJwk};
use crate::{Alg, multikey};

/// A private key that signs with its one algorithm.
pub struct SigningKey {
    private: Private,
    public: PublicJwk,
}

enum Private {
    P256(EcdsaKeyPair),
    Secp256k1(k256::ecdsa::SigningKey),
    Rsa(RsaKeyPair),
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

/// The private members of a JWK (RFC 7518 §6.2.2 and §6.3.2), unpadded base64url each.
#[derive(Deserialize)]
struct PrivateMembers {
    d: SecretMember,
    p: Option<SecretMember>,
    q: Option<SecretMember>,
    dp: Option<SecretMember>,
    dq: Option<SecretMember>,
    qi: Option<SecretMember>,
}

struct SecretMember(Zeroizing<Vec<u8>>);

/// A private JWK as it is written out.
#[derive(Serialize)]
struct PrivateJwk<'a> {
    #[serde(flatten)]
    public: &'a PublicJwk,
    d: &'a str,
    #[serde(flatten)]
    factors: Option<RsaFactors<'a>>,
}

#[derive(Serialize)]
struct RsaFactors<'a> {
    p: &'a str,
    q: &'a str,
    dp: &'a str,
    dq: &'a str,
    qi: &'a str,
}

impl SigningKey {
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
            Alg::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048)
                .map(Private::Rsa)
                .map_err(|_| failed)?,
        };
        let key = private
            .public()
            .map_err(|NotAKey| KeyError::Library("export"))?;
        Ok(Self {
            private,
            public: PublicJwk::new(key, kid),
        })
    }

    /// Imports a private JWK. The private members must belong to the public ones.
    pub fn from_jwk_json(jwk: &str) -> Result<Self, KeyError> {
        let raw: RawJwk = json::parse(jwk.as_bytes())?;
        let public = raw.into_public_half()?;
        let members: PrivateMembers = json::parse(jwk.as_bytes())?;
        let private = members
            .into_private(public.verifying_key().material())
            .ok_or(KeyError::Private)?;
        Ok(Self { private, public })
    }

    /// Exports the key as a private JWK, to be sealed or written to a file of mode 0600.
    pub fn to_private_jwk_json(&self) -> Result<SecretString, KeyError> {
        let refused = || KeyError::Library("export");
        let encode = |bytes: &[u8]| Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes));
        let json = if let Private::Rsa(pair) = &self.private {
            let numbers = rsa_numbers(pair).ok_or_else(refused)?;
            let [d, p, q, dp, dq, qi] = [
                &numbers.d,
                &numbers.p,
                &numbers.q,
                &numbers.dp,
                &numbers.dq,
                &numbers.qi,
            ]
            .map(|number| encode(number));
            let factors = Some(RsaFactors {
                p: &p,
                q: &q,
                dp: &dp,
                dq: &dq,
                qi: &qi,
            });
            serde_json::to_string(&PrivateJwk {
                public: &self.public,
                d: &d,
                factors,
            })
        } else {
            let d = encode(&self.private.scalar().ok_or_else(refused)?);
            serde_json::to_string(&PrivateJwk {
                public: &self.public,
                d: &d,
                factors: None,
            })
        };
        json.map(SecretString::from).map_err(|_| refused())
    }

    /// Exports a key of a curve as a private `did:key`, the form in which some AT Protocol
    /// libraries take keys; `None` for RSA, which has no such form.
    pub fn to_private_did_key(&self) -> Option<SecretString> {
        let scalar = self.private.scalar()?;
        Some(multikey::private_did_key(self.alg(), &scalar)?.into())
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

    /// Signs `message`: `r ‖ s` for the curves (RFC 7518 §3.4), with a low `s` for ES256K, which
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
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(|_| SignError::Library)?;
                Ok(signature)
            }
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
    fn public(&self) -> Result<VerifyingKey, NotAKey> {
        match self {
            Self::P256(pair) => VerifyingKey::from_sec1(Curve::P256, pair.public_key().as_ref()),
            Self::Secp256k1(key) => VerifyingKey::from_sec1(
                Curve::Secp256k1,
                key.verifying_key().to_sec1_point(false).as_bytes(),
            ),
            Self::Rsa(pair) => {
                let numbers = rsa_numbers(pair).ok_or(NotAKey)?;
                VerifyingKey::from_material(Material::Rsa {
                    n: numbers.n,
                    e: numbers.e,
                })
            }
        }
    }

    /// The private number of a key of a curve.
    fn scalar(&self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::P256(pair) => {
                let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
                Some(Zeroizing::new(scalar.as_ref().to_vec()))
            }
            Self::Secp256k1(key) => Some(Zeroizing::new(key.to_bytes().to_vec())),
            Self::Rsa(_) => None,
        }
    }
}

impl PrivateMembers {
    /// The private key, if it belongs to `public`.
    fn into_private(self, public: &Material) -> Option<Private> {
        match public {
            Material::Ec {
                curve: Curve::P256,
                x,
                y,
            } => EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &self.d.0,
                &uncompressed(x, y),
            )
            .map(Private::P256)
            .ok(),
            Material::Ec {
                curve: Curve::Secp256k1,
                x,
                y,
            } => {
                let key = k256::ecdsa::SigningKey::from_slice(&self.d.0).ok()?;
                let point = key.verifying_key().to_sec1_point(false);
                (point.as_bytes() == uncompressed(x, y)).then_some(Private::Secp256k1(key))
            }
            Material::Rsa { n, e } => RsaKeyPair::from_components(&KeyPairComponents {
                public_key: RsaPublicKeyComponents { n, e },
                d: &*self.d.0,
                p: &*self.p?.0,
                q: &*self.q?.0,
                dP: &*self.dp?.0,
                dQ: &*self.dq?.0,
                qInv: &*self.qi?.0,
            })
            .map(Private::Rsa)
            .ok(),
        }
    }
}

impl<'de> Deserialize<'de> for SecretMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        URL_SAFE_NO_PAD
            .decode(text.as_bytes())
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .map_err(|_| de::Error::custom("a private member is not unpadded base64url"))
    }
}

fn rsa_numbers(pair: &RsaKeyPair) -> Option<RsaNumbers> {
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    rsa_der::parse_pkcs8(pkcs8.as_ref())
}
