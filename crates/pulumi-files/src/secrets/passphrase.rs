//! The passphrase provider: `encryptionsalt: v1:<salt>:<the word "pulumi", encrypted>`.
//!
//! The key is PBKDF2-HMAC-SHA256 (RFC 8018 §5.2) over the passphrase, 1,000,000 rounds: a quarter
//! of a second, so it runs only when something is to be decrypted or encrypted.

use std::num::NonZeroU32;

use aip_base::{Environment, Rng};
use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::crypter::{Crypter, CrypterError, KEY_BYTES};

const PBKDF2_ITERATIONS: NonZeroU32 = match NonZeroU32::new(1_000_000) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};
const SALT_BYTES: usize = 8;
const CHECK_PLAINTEXT: &str = "pulumi";

/// Asks a person.
pub trait Prompt: Send + Sync {
    /// Whether somebody is there to answer.
    fn is_interactive(&self) -> bool;
    /// Shows `label` and reads a line without echo.
    fn secret(&self, label: &str) -> std::io::Result<SecretString>;
}

/// Why there is no passphrase, or not the right one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum PassphraseError {
    #[error(
        "passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables"
    )]
    Missing,
    #[error("PULUMI_CONFIG_PASSPHRASE_FILE names {path}, which is not readable: {source}")]
    File {
        path: String,
        source: std::io::Error,
    },
    #[error("the passphrase could not be read from the terminal: {0}")]
    Terminal(#[source] std::io::Error),
    #[error("incorrect passphrase (from {from})")]
    Incorrect {
        /// Where it came from.
        from: &'static str,
    },
    #[error("`encryptionsalt` is damaged: it should look like v1:<salt>:v1:<nonce>:<ciphertext>")]
    BadSalt,
    #[error("passphrases do not match")]
    Mismatch,
    #[error(transparent)]
    Crypter(#[from] CrypterError),
}

/// How often a person may mistype.
const MAX_PROMPT_ATTEMPTS: usize = 3;

/// A passphrase and where it came from.
struct Found {
    passphrase: SecretString,
    from: &'static str,
}

/// Opens the crypter of an existing `encryptionsalt`.
pub(super) fn open(
    state: &str,
    environment: &Environment,
    prompt: &dyn Prompt,
) -> Result<Crypter, PassphraseError> {
    let (salt, check) = split(state)?;
    if let Some(found) = from_environment(environment)? {
        return attempt(&found, &salt, check);
    }
    if !prompt.is_interactive() {
        return Err(PassphraseError::Missing);
    }
    let label = "Enter your passphrase to unlock config/secrets\n    \
                 (set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to remember)";
    let mut outcome = Err(PassphraseError::Missing);
    for _ in 0..MAX_PROMPT_ATTEMPTS {
        let passphrase = prompt.secret(label).map_err(PassphraseError::Terminal)?;
        outcome = attempt(
            &Found {
                passphrase,
                from: "the terminal",
            },
            &salt,
            check,
        );
        if !matches!(outcome, Err(PassphraseError::Incorrect { .. })) {
            break;
        }
    }
    outcome
}

/// Makes a new salt; returns the crypter and the text of `encryptionsalt`.
pub(super) fn create(
    environment: &Environment,
    prompt: &dyn Prompt,
    rng: &dyn Rng,
) -> Result<(Crypter, String), PassphraseError> {
    let passphrase = match from_environment(environment)? {
        Some(found) => found.passphrase,
        None if prompt.is_interactive() => ask_twice(prompt)?,
        None => return Err(PassphraseError::Missing),
    };
    create_with(&passphrase, rng)
}

/// Makes a new salt for a given passphrase.
pub(super) fn create_with(
    passphrase: &SecretString,
    rng: &dyn Rng,
) -> Result<(Crypter, String), PassphraseError> {
    let mut salt = [0; SALT_BYTES];
    rng.fill(&mut salt);
    let crypter = derive(passphrase, &salt)?;
    let check = crypter.encrypt(CHECK_PLAINTEXT, rng)?;
    Ok((crypter, format!("v1:{}:{check}", STANDARD.encode(salt))))
}

fn ask_twice(prompt: &dyn Prompt) -> Result<SecretString, PassphraseError> {
    for _ in 0..MAX_PROMPT_ATTEMPTS {
        let ask = |label| prompt.secret(label).map_err(PassphraseError::Terminal);
        let first = ask("Enter your passphrase to protect config/secrets")?;
        let again = ask("Re-enter your passphrase to confirm")?;
        if first.expose_secret() == again.expose_secret() {
            return Ok(first);
        }
    }
    Err(PassphraseError::Mismatch)
}

/// `PULUMI_CONFIG_PASSPHRASE` counts even when it is empty, and is not trimmed; the file is.
fn from_environment(environment: &Environment) -> Result<Option<Found>, PassphraseError> {
    if let Some(passphrase) = environment.get("PULUMI_CONFIG_PASSPHRASE") {
        let passphrase = SecretString::from(passphrase.to_owned());
        return Ok(Some(Found {
            passphrase,
            from: "PULUMI_CONFIG_PASSPHRASE",
        }));
    }
    let Some(path) = environment.non_empty("PULUMI_CONFIG_PASSPHRASE_FILE") else {
        return Ok(None);
    };
    let content = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| PassphraseError::File {
            path: path.to_owned(),
            source,
        })?;
    let passphrase = SecretString::from(content.trim().to_owned());
    Ok(Some(Found {
        passphrase,
        from: "PULUMI_CONFIG_PASSPHRASE_FILE",
    }))
}

fn split(state: &str) -> Result<(Vec<u8>, &str), PassphraseError> {
    let mut parts = state.splitn(3, ':');
    let (Some("v1"), Some(salt), Some(check)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(PassphraseError::BadSalt);
    };
    let salt = STANDARD
        .decode(salt)
        .map_err(|_| PassphraseError::BadSalt)?;
    Ok((salt, check))
}

fn attempt(found: &Found, salt: &[u8], check: &str) -> Result<Crypter, PassphraseError> {
    let crypter = derive(&found.passphrase, salt)?;
    match crypter.decrypt(check) {
        Ok(word) if word.expose_secret() == CHECK_PLAINTEXT => Ok(crypter),
        Err(CrypterError::Malformed) => Err(PassphraseError::BadSalt),
        _ => Err(PassphraseError::Incorrect { from: found.from }),
    }
}

fn derive(passphrase: &SecretString, salt: &[u8]) -> Result<Crypter, PassphraseError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let passphrase = passphrase.expose_secret().as_bytes();
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        PBKDF2_ITERATIONS,
        salt,
        passphrase,
        key.as_mut_slice(),
    );
    Ok(Crypter::new(&key)?)
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;

    use super::*;
    use crate::secrets::testing::{NonInteractivePrompt, ScriptedPrompt};

    /// The vector of Pulumi's own unit test (`pkg/secrets/passphrase/manager_test.go`).
    const VECTOR: &str = "v1:fozI5u6B030=:v1:F+6ZduKKd8G0/V7L:PGMFeIzwobWRKmEAzUdaQHqC5mMRIQ==";

    fn passphrase(text: &str) -> Environment {
        Environment::new([("PULUMI_CONFIG_PASSPHRASE", text)])
    }

    #[test]
    fn the_public_test_vector_opens_with_its_passphrase_only() {
        assert!(open(VECTOR, &passphrase("password"), &NonInteractivePrompt).is_ok());
        let error = open(VECTOR, &passphrase("password123"), &NonInteractivePrompt)
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "incorrect passphrase (from PULUMI_CONFIG_PASSPHRASE)"
        );
    }

    #[test]
    fn an_empty_passphrase_is_a_passphrase_and_none_is_an_error() {
        let (crypter, state) = create(&passphrase(""), &NonInteractivePrompt, &SystemRng).unwrap();
        let sealed = crypter.encrypt("x", &SystemRng).unwrap();
        let again = open(&state, &passphrase(""), &NonInteractivePrompt).unwrap();
        assert_eq!(again.decrypt(&sealed).unwrap().expose_secret(), "x");
        let none = open(&state, &Environment::default(), &NonInteractivePrompt)
            .err()
            .unwrap();
        assert!(matches!(none, PassphraseError::Missing));
    }

    #[test]
    fn the_file_is_trimmed_and_the_terminal_may_mistype_twice() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " password \n").unwrap();
        let environment = Environment::new([(
            "PULUMI_CONFIG_PASSPHRASE_FILE",
            file.path().to_str().unwrap(),
        )]);
        assert!(open(VECTOR, &environment, &NonInteractivePrompt).is_ok());

        let none = Environment::default();
        assert!(
            open(
                VECTOR,
                &none,
                &ScriptedPrompt::answering(["a", "b", "password"])
            )
            .is_ok()
        );
        let error = open(
            VECTOR,
            &none,
            &ScriptedPrompt::answering(["a", "b", "c", "password"]),
        )
        .err()
        .unwrap();
        assert!(matches!(error, PassphraseError::Incorrect { .. }));
        assert!(
            create(
                &none,
                &ScriptedPrompt::answering(["a", "b", "c", "c"]),
                &SystemRng
            )
            .is_ok()
        );
    }

    #[test]
    fn a_damaged_salt_is_not_called_a_wrong_passphrase() {
        for state in [
            "",
            "v1",
            "v1:x",
            "v2:fozI5u6B030=:v1:a:b",
            "v1:!!:v1:a:b",
            "v1:fozI5u6B030=:junk",
        ] {
            let error = open(state, &passphrase("password"), &NonInteractivePrompt)
                .err()
                .unwrap();
            assert!(matches!(error, PassphraseError::BadSalt), "{state}");
        }
    }
}
