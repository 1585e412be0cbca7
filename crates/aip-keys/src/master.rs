//! The keys that protect the database, as one JSON text.
//!
//! `{"primary": "kid", "keys": [{"kid", "key"}], "token_pepper": "…"}`: the primary key seals,
//! every key opens. The pepper never changes: it is what stored token hashes were made with.

use std::collections::BTreeMap;
use std::fmt;

use aip_base::{Rng, random_name};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{Sealer, TokenHasher};

/// The master keys and the pepper.
#[derive(Clone)]
pub struct MasterKeys {
    primary: String,
    keys: BTreeMap<String, Key>,
    token_pepper: Key,
}

/// 256 bits.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// Why a text is not a set of master keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeysError {
    /// Not the JSON of this format. The details are left out, as they could quote a key.
    #[error("not a JSON object with `primary`, `keys` and `token_pepper`")]
    Malformed,
    /// A key is not 32 bytes of unpadded base64url.
    #[error("the key `{0}` is not 32 bytes in unpadded base64url")]
    Key(String),
    /// A key id is empty, too long, not plain, or used twice.
    #[error("the key id `{0}` is used twice, or is not 1–32 letters, digits, `-` or `_`")]
    Kid(String),
    /// The primary key is not among the keys.
    #[error("there is no key `{0}`, which is said to be the primary one")]
    NoPrimary(String),
    /// No such key.
    #[error("there is no master key `{0}`")]
    Unknown(String),
    /// The primary key would be lost.
    #[error("the master key `{0}` seals at present: activate another one first")]
    Primary(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    primary: String,
    keys: Vec<FileKey>,
    token_pepper: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKey {
    kid: String,
    key: String,
}

impl MasterKeys {
    /// One fresh key and a fresh pepper.
    pub fn generate(rng: &dyn Rng) -> Self {
        let kid = random_name::<6>(rng);
        Self {
            primary: kid.clone(),
            keys: BTreeMap::from([(kid, random_key(rng))]),
            token_pepper: random_key(rng),
        }
    }

    /// Reads the JSON text of [`Self::to_json`].
    pub fn from_json(json: &str) -> Result<Self, MasterKeysError> {
        let file: File = serde_json::from_str(json).map_err(|_| MasterKeysError::Malformed)?;
        let mut keys = BTreeMap::new();
        for FileKey { kid, key } in &file.keys {
            let parsed = parse_key(key).ok_or_else(|| MasterKeysError::Key(kid.clone()))?;
            if !is_kid(kid) || keys.insert(kid.clone(), parsed).is_some() {
                return Err(MasterKeysError::Kid(kid.clone()));
            }
        }
        if !keys.contains_key(&file.primary) {
            return Err(MasterKeysError::NoPrimary(file.primary.clone()));
        }
        let token_pepper = parse_key(&file.token_pepper)
            .ok_or_else(|| MasterKeysError::Key("token_pepper".to_owned()))?;
        Ok(Self {
            primary: file.primary.clone(),
            keys,
            token_pepper,
        })
    }

    /// The JSON text, to be written to a file of mode 0600 or to a secret store.
    pub fn to_json(&self) -> SecretString {
        let file = File {
            primary: self.primary.clone(),
            keys: self
                .keys
                .iter()
                .map(|(kid, key)| FileKey {
                    kid: kid.clone(),
                    key: URL_SAFE_NO_PAD.encode(key.as_slice()),
                })
                .collect(),
            token_pepper: URL_SAFE_NO_PAD.encode(self.token_pepper.as_slice()),
        };
        // Strings only: this cannot fail, and an empty text is refused by `from_json`.
        serde_json::to_string(&file).unwrap_or_default().into()
    }

    /// Adds a fresh key, which only opens: every process must have it before one seals with it.
    /// Returns its id.
    pub fn add(&mut self, rng: &dyn Rng) -> String {
        let kid = random_name::<6>(rng);
        self.keys.insert(kid.clone(), random_key(rng));
        kid
    }

    /// Makes `kid` the primary key; the others still open.
    pub fn activate(&mut self, kid: &str) -> Result<(), MasterKeysError> {
        if !self.keys.contains_key(kid) {
            return Err(MasterKeysError::Unknown(kid.to_owned()));
        }
        kid.clone_into(&mut self.primary);
        Ok(())
    }

    /// Forgets a key: only after everything that it sealed was sealed again.
    pub fn remove(&mut self, kid: &str) -> Result<(), MasterKeysError> {
        if kid == self.primary {
            return Err(MasterKeysError::Primary(kid.to_owned()));
        }
        match self.keys.remove(kid) {
            Some(_) => Ok(()),
            None => Err(MasterKeysError::Unknown(kid.to_owned())),
        }
    }

    /// The id of the key that seals.
    pub fn primary(&self) -> &str {
        &self.primary
    }

    /// The ids of all keys.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Seals and opens with these keys.
    pub fn sealer(&self) -> Sealer {
        Sealer::new(self.primary.clone(), self.keys.clone())
    }

    /// Hashes tokens with the pepper.
    pub fn token_hasher(&self) -> TokenHasher {
        TokenHasher::new(&self.token_pepper)
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKeys")
            .field("primary", &self.primary)
            .finish_non_exhaustive()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.token_pepper.zeroize();
        for key in &mut self.keys {
            key.key.zeroize();
        }
    }
}

fn random_key(rng: &dyn Rng) -> Key {
    let mut key = Key::default();
    rng.fill(key.as_mut_slice());
    key
}

fn parse_key(text: &str) -> Option<Key> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

/// A key id is part of sealed values, in which dots separate.
fn is_kid(kid: &str) -> bool {
    (1..=32).contains(&kid.len())
        && kid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
