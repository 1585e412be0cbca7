//! Keyed hashes of tokens and secrets, and comparisons that take the same time for every input.
//!
//! Everything that AIP mints has 256 random bits, so a fast hash is safe, and a slow one would be
//! an invitation to exhaust the server. The pepper makes a stolen database useless on its own.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use secrecy::SecretString;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::master::Key;
use crate::{PairwiseSubject, PresentedToken, TokenKind};

/// Hashes tokens with a key from the pepper (HMAC-SHA256, RFC 2104).
#[derive(Clone)]
pub struct TokenHasher {
    hashing: hmac::Key,
    deriving: hmac::Key,
    subjects: hmac::Key,
}

/// The keyed hash of a token: what the database stores instead of it.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHasher {
    pub(crate) fn new(pepper: &Key) -> Self {
        let pepper = hmac::Key::new(HMAC_SHA256, pepper.as_slice());
        Self {
            hashing: subkey(&pepper, b"aip token hash v1"),
            deriving: subkey(&pepper, b"aip token derivation v1"),
            subjects: subkey(&pepper, b"aip pairwise subject v1"),
        }
    }

    /// The hash of `text`.
    pub fn hash(&self, text: &str) -> TokenHash {
        TokenHash(mac(&self.hashing, text.as_bytes()))
    }

    /// The hash under which a token is stored.
    pub fn hash_token(&self, token: PresentedToken<'_>) -> TokenHash {
        self.hash(token.as_str())
    }

    /// The token of `kind` that follows from `text`: always the same one, and as unguessable as
    /// `text`. Its key is not the one of the hashes, so a
    /// stored hash says nothing about it.
    pub fn derive(&self, kind: TokenKind, text: &str) -> SecretString {
        let input = Zeroizing::new([kind.prefix(), text].concat());
        kind.with_secret(&Zeroizing::new(mac(&self.deriving, input.as_bytes())))
    }

    /// What the clients of `sector`, a host, know the account `did` by (OpenID Connect Core §8.1). It
    /// follows from both and the pepper, which never changes: it stays while keys are rotated.
    pub fn pairwise_subject(&self, sector: &str, did: &str) -> PairwiseSubject {
        // Neither has a NUL in it.
        let input = [sector, "\0", did].concat();
        PairwiseSubject::of(&mac(&self.subjects, input.as_bytes()))
    }
}

impl TokenHash {
    /// From the bytes of a column.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes for a column.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl AsRef<[u8]> for TokenHash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHasher(..)")
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// One of the keys that come from the pepper: HKDF-Expand to one block (RFC 5869 §2.3).
fn subkey(pepper: &hmac::Key, label: &[u8]) -> hmac::Key {
    let block = Zeroizing::new(mac(pepper, &[label, &[1]].concat()));
    hmac::Key::new(HMAC_SHA256, block.as_slice())
}

fn mac(key: &hmac::Key, message: &[u8]) -> [u8; 32] {
    let mut mac = [0; 32];
    let tag = hmac::sign(key, message);
    mac.copy_from_slice(tag.as_ref());
    mac
}

/// Whether two secrets are equal, in a time that depends on their lengths alone.
pub fn secrets_equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}
