//! Names that follow from content: a Secret whose values change gets another name, so the Pods
//! roll, and a rollback still finds its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::hmac;
use pulumi_files::Crypter;
use secrecy::{ExposeSecret as _, SecretString};

/// The key of the hash in the names. Names can be listed by people who may not read Secrets, and
/// a plain hash of a short value could be guessed.
#[derive(Clone)]
pub struct NameKey(hmac::Key);

/// How much of the hash is in a name.
const HASH_BYTES: usize = 5;

impl NameKey {
    /// The key of a stack with encrypted values.
    pub fn of(crypter: &Crypter) -> Self {
        let key = crypter.derive_key("names of content-addressed Kubernetes Secrets");
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()))
    }

    /// For a stack without encrypted values, and for output that shows none.
    pub fn public() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, b"nothing here is secret"))
    }

    /// `name-<10 hex digits of the content>`.
    pub(super) fn address(&self, name: &str, content: &BTreeMap<String, SecretString>) -> String {
        let mut hash = hmac::Context::with_key(&self.0);
        let mut add = |bytes: &[u8]| {
            // Lengths keep "ab" + "c" and "a" + "bc" apart.
            hash.update(&bytes.len().to_be_bytes());
            hash.update(bytes);
        };
        for (key, value) in content {
            add(key.as_bytes());
            add(value.expose_secret().as_bytes());
        }
        suffixed(name, hash)
    }

    /// `name-<10 hex digits of the parts>`, for names that follow from other names.
    pub(super) fn address_of(&self, name: &str, parts: &[&str]) -> String {
        let mut hash = hmac::Context::with_key(&self.0);
        for part in parts {
            hash.update(&part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        suffixed(name, hash)
    }
}

/// Whether `address` is `name` with a hash of content, as [`NameKey`] makes them.
pub fn is_content_address(name: &str, address: &str) -> bool {
    let hash = address.strip_prefix(name);
    let hash = hash.and_then(|hash| hash.strip_prefix('-'));
    hash.is_some_and(|hash| {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        hash.len() == 2 * HASH_BYTES && hash.bytes().all(is_digit)
    })
}

fn suffixed(name: &str, hash: hmac::Context) -> String {
    let mut out = format!("{name}-");
    for byte in &hash.sign().as_ref()[..HASH_BYTES] {
        let _ = write!(out, "{byte:02x}");
    }
    out
}
