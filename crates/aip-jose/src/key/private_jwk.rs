//! Private JWKs (RFC 7518 §6.2.2 and §6.3.2, RFC 8037 §2): read into a key, and written from one.

use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, de};
use zeroize::Zeroizing;

use super::signing::{Private, rsa_numbers};
use super::verifying::{Curve, Material, uncompressed};
use crate::jwk::PublicJwk;

/// The private members of a JWK, unpadded base64url each.
#[derive(Deserialize)]
pub(super) struct PrivateMembers {
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

/// Writes a private JWK; `None` if the crypto library does not hand the numbers out.
pub(super) fn write(private: &Private, public: &PublicJwk) -> Option<SecretString> {
    let encode = |bytes: &[u8]| Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes));
    let json = if let Private::Rsa(_, pair) = private {
        let numbers = rsa_numbers(pair)?;
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
            public,
            d: &d,
            factors,
        })
    } else {
        let d = encode(&private.scalar()?);
        serde_json::to_string(&PrivateJwk {
            public,
            d: &d,
            factors: None,
        })
    };
    json.ok().map(SecretString::from)
}

impl PrivateMembers {
    /// The private key, if it belongs to `public`.
    pub(super) fn into_private(self, public: &Material) -> Option<Private> {
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
            Material::Rsa { padding, n, e } => RsaKeyPair::from_components(&KeyPairComponents {
                public_key: RsaPublicKeyComponents { n, e },
                d: &*self.d.0,
                p: &*self.p?.0,
                q: &*self.q?.0,
                dP: &*self.dp?.0,
                dQ: &*self.dq?.0,
                qInv: &*self.qi?.0,
            })
            .map(|pair| Private::Rsa(*padding, pair))
            .ok(),
            Material::Ed25519 { x } => Ed25519KeyPair::from_seed_and_public_key(&self.d.0, x)
                .map(Private::Ed25519)
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
