//! The `v1` value format: AES-256-GCM, a random nonce of 12 bytes, no additional data.
//!
//! `v1:` base64(nonce) `:` base64(ciphertext and tag), byte-compatible with Pulumi in both
//! directions. The plaintext is the text of the value itself.

use aip_base::Rng;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use zeroize::Zeroizing;

/// The length of a key in bytes.
pub(crate) const KEY_BYTES: usize = 32;

/// Encrypts and decrypts the values of one stack.
pub struct Crypter {
    key: LessSafeKey,
    derivation: hmac::Key,
}

/// Why a value is not decrypted (or, which does not happen, not encrypted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrypterError {
    /// It is not `v1:nonce:ciphertext`.
    #[error("the encrypted value is damaged: it should look like v1:<nonce>:<ciphertext>")]
    Malformed,
    /// The tag does not fit: another key, or changed text.
    #[error(
        "the encrypted value cannot be decrypted with this stack's key: it was modified, or encrypted with \
         another key"
    )]
    WrongKey,
    /// What was inside is not text.
    #[error("the decrypted value is not UTF-8")]
    NotUtf8,
    /// The cipher failed to encrypt.
    #[error("encryption failed")]
    Encrypt,
}

impl Crypter {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Result<Self, CrypterError> {
        let derivation = hmac::Key::new(hmac::HMAC_SHA256, key);
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| CrypterError::Encrypt)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            derivation,
        })
    }

    /// Encrypts a value.
    pub fn encrypt(&self, plaintext: &str, rng: &dyn Rng) -> Result<String, CrypterError> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill(&mut nonce);
        let mut sealed = plaintext.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut sealed,
            )
            .map_err(|_| CrypterError::Encrypt)?;
        Ok(format!(
            "v1:{}:{}",
            STANDARD.encode(nonce),
            STANDARD.encode(sealed)
        ))
    }

    /// Decrypts a value.
    pub fn decrypt(&self, ciphertext: &str) -> Result<SecretString, CrypterError> {
        let parts: Vec<_> = ciphertext.split(':').collect();
        let ["v1", nonce, sealed] = parts[..] else {
            return Err(CrypterError::Malformed);
        };
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| CrypterError::Malformed);
        let nonce = Nonce::try_assume_unique_for_key(&decode(nonce)?)
            .map_err(|_| CrypterError::Malformed)?;
        let mut buffer = Zeroizing::new(decode(sealed)?);
        let plaintext = self
            .key
            .open_in_place(nonce, Aad::empty(), &mut buffer)
            .map_err(|_| CrypterError::WrongKey)?;
        let text = std::str::from_utf8(plaintext).map_err(|_| CrypterError::NotUtf8)?;
        Ok(SecretString::from(text.to_owned()))
    }

    /// Another key of this stack, for the purpose that `label` names.
    pub fn derive_key(&self, label: &str) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let tag = hmac::sign(&self.derivation, label.as_bytes());
        key.copy_from_slice(tag.as_ref());
        key
    }
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn crypter(byte: u8) -> Crypter {
        Crypter::new(&[byte; KEY_BYTES]).unwrap()
    }

    #[test]
    fn a_changed_or_foreign_ciphertext_does_not_open() {
        let sealed = crypter(1)
            .encrypt("postgres://u:p@h/db", &SystemRng)
            .unwrap();
        assert_eq!(
            crypter(1).decrypt(&sealed).unwrap().expose_secret(),
            "postgres://u:p@h/db"
        );
        assert_eq!(
            crypter(2).decrypt(&sealed).unwrap_err(),
            CrypterError::WrongKey
        );
        let last = sealed.len() - 3;
        let mut changed = sealed.clone();
        let other = if &sealed[last..=last] == "A" {
            "B"
        } else {
            "A"
        };
        changed.replace_range(last..=last, other);
        assert_eq!(
            crypter(1).decrypt(&changed).unwrap_err(),
            CrypterError::WrongKey
        );
        for damaged in [
            "",
            "v1",
            "v1::",
            "v2:AAAAAAAAAAAAAAAA:AAAA",
            "v1:AAAA:AAAA",
            "v1:!:!",
            "v1:a:b:c",
        ] {
            assert_eq!(
                crypter(1).decrypt(damaged).unwrap_err(),
                CrypterError::Malformed,
                "{damaged}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_encrypted_is_decrypted(text in "\\PC{0,40}") {
            let sealed = crypter(7).encrypt(&text, &SystemRng).unwrap();
            let opened = crypter(7).decrypt(&sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), &text);
        }

        #[test]
        fn no_ciphertext_panics(text in "v1:[A-Za-z0-9+/=]{0,24}:[A-Za-z0-9+/=]{0,40}|\\PC{0,30}") {
            prop_assert!(crypter(7).decrypt(&text).is_err());
        }
    }
}
