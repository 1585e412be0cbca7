//! Sealing at rest: AES-256-GCM under a key per record (NIST SP 800-38D, RFC 5869).
//!
//! A sealed value is `v1.<kid>.<salt>.<nonce ‖ ciphertext ‖ tag>`. Its key is
//! HKDF-SHA256(master key, salt), so no number of records wears a key out. Where the value
//! belongs (table, column, row) and the id of the key are authenticated with it: a value that is
//! moved elsewhere does not open.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aip_base::Rng;
use aws_lc_rs::aead::{self, AES_256_GCM, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{SecretSlice, SecretString};
use zeroize::Zeroizing;

use crate::MasterKeys;
use crate::master::Key;

/// Seals with the primary master key, opens with any. Its keys can be replaced while it is used.
pub struct Sealer(RwLock<Arc<SealingKeys>>);

struct SealingKeys {
    primary: String,
    keys: BTreeMap<String, Key>,
}

/// A sealed value, as it stands in its column. It may be shown: it says nothing without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(String);

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy)]
pub struct Aad<'a> {
    /// SQL name of the table.
    pub table: &'static str,
    /// SQL name of the column.
    pub column: &'static str,
    /// The id of the row.
    pub row: &'a str,
}

/// Why a value was not sealed or opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a sealed value of a known version.
    #[error("not a sealed value")]
    Malformed,
    /// Sealed with a master key that is not in the set.
    #[error("sealed with the master key `{0}`, which is not in the set")]
    UnknownKey(String),
    /// Altered, moved from another place, or sealed with another key of the same id.
    #[error("the sealed value does not open: altered, moved, or another key")]
    Refused,
    /// The crypto library failed.
    #[error("the crypto library refused to seal")]
    Library,
}

const VERSION: &str = "v1";
const SALT_LEN: usize = 16;

/// The label of record keys, so that nothing else derives the same ones.
const INFO: &[&[u8]] = &[b"aip sealed record v1"];

impl Sealer {
    pub(crate) fn new(primary: String, keys: BTreeMap<String, Key>) -> Self {
        Self(RwLock::new(Arc::new(SealingKeys { primary, keys })))
    }

    /// Goes on with other keys. The caller makes sure that nothing is left that only the keys
    /// before open.
    pub fn replace(&self, keys: &MasterKeys) {
        let fresh = keys.sealer().keys();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// The ids of its keys.
    pub fn kids(&self) -> Vec<String> {
        self.keys().keys.keys().cloned().collect()
    }

    fn keys(&self) -> Arc<SealingKeys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seals `plaintext` for the place `aad`.
    pub fn seal(&self, rng: &dyn Rng, plaintext: &[u8], aad: Aad<'_>) -> Result<Sealed, SealError> {
        let mut salt = [0; SALT_LEN];
        rng.fill(&mut salt);
        // The key is this record's alone, so a random nonce cannot repeat under it.
        let mut nonce = [0; NONCE_LEN];
        rng.fill(&mut nonce);
        let keys = self.keys();
        let key = keys.record_key(&keys.primary, &salt)?;
        let mut sealed = Zeroizing::new(plaintext.to_vec());
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                aad.authenticated(&keys.primary),
                &mut sealed,
            )
            .map_err(|_| SealError::Library)?;
        let body = [&nonce, sealed.as_slice(), tag.as_ref()].concat();
        Ok(Sealed(format!(
            "{}{}.{}",
            Sealed::prefix_of(&keys.primary),
            URL_SAFE_NO_PAD.encode(salt),
            URL_SAFE_NO_PAD.encode(body),
        )))
    }

    /// Opens a value that was sealed for the place `aad`.
    pub fn open(&self, sealed: &Sealed, aad: Aad<'_>) -> Result<SecretSlice<u8>, SealError> {
        self.open_bytes(sealed, aad)
            .map(|bytes| bytes.to_vec().into())
    }

    /// Opens a value that is a text.
    pub fn open_text(&self, sealed: &Sealed, aad: Aad<'_>) -> Result<SecretString, SealError> {
        let bytes = self.open_bytes(sealed, aad)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| SealError::Malformed)?;
        Ok(text.into())
    }

    /// What every value begins with that is sealed from now on: values that begin otherwise were
    /// sealed with another key than the primary one.
    pub fn prefix(&self) -> String {
        Sealed::prefix_of(&self.keys().primary)
    }

    fn open_bytes(&self, sealed: &Sealed, aad: Aad<'_>) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut parts = sealed.0.split('.');
        let (Some(VERSION), Some(kid), Some(salt), Some(body), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(SealError::Malformed);
        };
        let decode = |part| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| SealError::Malformed)
        };
        let key = self.keys().record_key(kid, &decode(salt)?)?;
        let body = Zeroizing::new(decode(body)?);
        let (nonce, ciphertext) = body
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Malformed)?;
        let mut opened = Zeroizing::new(ciphertext.to_vec());
        let length = key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                aad.authenticated(kid),
                &mut opened,
            )
            .map_err(|_| SealError::Refused)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

impl SealingKeys {
    fn record_key(&self, kid: &str, salt: &[u8]) -> Result<LessSafeKey, SealError> {
        let master = self
            .keys
            .get(kid)
            .ok_or_else(|| SealError::UnknownKey(kid.to_owned()))?;
        Salt::new(HKDF_SHA256, salt)
            .extract(master.as_slice())
            .expand(INFO, &AES_256_GCM)
            .map(|derived| LessSafeKey::new(UnboundKey::from(derived)))
            .map_err(|_| SealError::Library)
    }
}

impl Sealed {
    /// From the text of a column; whether it is a sealed value shows when it is opened.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// What every sealed value begins with.
    pub const PREFIX: &str = "v1.";

    /// What a value begins with that was sealed with the master key `kid`.
    pub fn prefix_of(kid: &str) -> String {
        format!("{}{kid}.", Self::PREFIX)
    }

    /// The text for a column.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("primary", &self.keys().primary)
            .finish_non_exhaustive()
    }
}

impl Aad<'_> {
    /// Each part with its length in front, so that no two places look alike.
    fn authenticated(&self, kid: &str) -> aead::Aad<Vec<u8>> {
        let mut bytes = Vec::new();
        for part in [VERSION, kid, self.table, self.column, self.row] {
            bytes.extend_from_slice(&part.len().to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        aead::Aad::from(bytes)
    }
}
