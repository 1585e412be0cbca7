//! The signature algorithms that AIP signs and verifies with (RFC 7518 §3.1, RFC 8037 §3.1,
//! RFC 8812 §3.2).

use std::fmt;
use std::str::FromStr;
use strum::IntoEnumIterator as _;

/// A signature algorithm. `none` and the MACs are not among them, so no token can name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Alg {
    /// ECDSA on P-256 with SHA-256: what the AT Protocol asks of every client.
    Es256,
    /// ECDSA on secp256k1 with SHA-256: the other curve of account keys.
    Es256k,
    /// RSASSA-PKCS1-v1_5 with SHA-256: what every OpenID Connect library knows.
    Rs256,
    /// RSASSA-PSS with SHA-256: what is left of RSA under FAPI 2.0.
    Ps256,
    /// Ed25519, the only curve of `EdDSA` here.
    #[strum(serialize = "EdDSA")]
    EdDsa,
}

/// A name that is none of the supported algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a supported signature algorithm (supported: ES256, ES256K, RS256, PS256, EdDSA)")]
pub struct UnknownAlg;

impl Alg {
    /// The name in `alg` members, as registered with IANA.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Alg {
    type Err = UnknownAlg;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::iter()
            .find(|alg| alg.as_str() == name)
            .ok_or(UnknownAlg)
    }
}
