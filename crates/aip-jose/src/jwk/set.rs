//! JWK Sets (RFC 7517 §5).

use serde::{Deserialize, Deserializer, Serialize, de};

use super::PublicJwk;
use super::raw::{JwkError, RawJwk};
use crate::Alg;
use crate::json::{self, JsonError};

/// The public keys of somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    keys: Vec<PublicJwk>,
}

/// Nobody rotates through more keys than this at a time.
const MAX_KEYS: usize = 64;

/// How many keys that share a `kid` are tried on one signature.
const MAX_CANDIDATES: usize = 4;

impl JwkSet {
    /// A set of `keys`.
    pub fn new(keys: Vec<PublicJwk>) -> Self {
        Self { keys }
    }

    /// Parses a JWK Set. A member that is named twice makes it none.
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        json::parse(json)
    }

    /// The set as JSON.
    pub fn to_json(&self) -> String {
        // Strings only: this cannot fail, and an empty text is no set.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The keys in the order of the set (RFC 7517 §5.1).
    pub fn keys(&self) -> &[PublicJwk] {
        &self.keys
    }

    /// The keys that a token with this `kid` and `alg` may be signed with. A `kid` should name one
    /// key (RFC 7517 §4.5); where several share it, each that fits the algorithm is one, of four at
    /// most. Without a `kid` there must be only one: keys are not tried out.
    pub fn candidates(&self, kid: Option<&str>, alg: Alg) -> Vec<&PublicJwk> {
        let fits = |key: &&PublicJwk| key.alg() == alg && (kid.is_none() || key.kid() == kid);
        let candidates: Vec<_> = self.keys.iter().filter(fits).take(MAX_CANDIDATES).collect();
        if kid.is_none() && candidates.len() > 1 {
            return Vec::new();
        }
        candidates
    }

    /// The key that a token with this `kid` and `alg` must be signed with, if there is only one.
    pub fn select(&self, kid: Option<&str>, alg: Alg) -> Option<&PublicJwk> {
        match self.candidates(kid, alg)[..] {
            [key] => Some(key),
            _ => None,
        }
    }
}

/// Keys that AIP cannot use are left out, as RFC 7517 §5 asks; a private one spoils the set. An RSA key
/// without `alg` counts as two, one for each padding.
impl<'de> Deserialize<'de> for JwkSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct RawSet {
            keys: Vec<serde_json::Value>,
        }

        let raw = RawSet::deserialize(deserializer)?;
        let too_many = || de::Error::custom(format_args!("more than {MAX_KEYS} keys"));
        if raw.keys.len() > MAX_KEYS {
            return Err(too_many());
        }
        let mut keys = Vec::with_capacity(raw.keys.len());
        for key in raw.keys {
            let Ok(key) = serde_json::from_value::<RawJwk>(key) else {
                continue;
            };
            match key.into_public_keys() {
                Ok(both) => keys.extend(both),
                Err(private @ JwkError::Private) => return Err(de::Error::custom(private)),
                Err(_unusable) => {}
            }
        }
        if keys.len() > MAX_KEYS {
            return Err(too_many());
        }
        Ok(Self { keys })
    }
}
