//! Key rings for tests.

use std::sync::Arc;

use aip_base::{Environment, SystemRng};
use async_trait::async_trait;
use pulumi_files::{KeyService, KeyServiceError, KeyServiceFault, Keyring, Prompt};
use secrecy::SecretString;
use zeroize::Zeroizing;

/// Nobody at the terminal.
struct NonInteractivePrompt;

impl Prompt for NonInteractivePrompt {
    fn is_interactive(&self) -> bool {
        false
    }

    fn secret(&self, _: &str) -> std::io::Result<SecretString> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// A service whose "encryption" is the URL of the key in front of the data key.
struct PrefixKeys;

#[async_trait]
impl KeyService for PrefixKeys {
    async fn wrap_key(&self, url: &str, data_key: &[u8]) -> Result<Vec<u8>, KeyServiceError> {
        Ok([url.as_bytes(), data_key].concat())
    }

    async fn unwrap_key(
        &self,
        url: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyServiceError> {
        let data_key = wrapped.strip_prefix(url.as_bytes());
        let data_key = data_key.map(|key| Zeroizing::new(key.to_vec()));
        data_key.ok_or_else(|| KeyServiceError {
            fault: KeyServiceFault::Misconfigured,
            source: "wrapped by another key".into(),
        })
    }
}

pub(crate) fn passphrase(text: &str) -> Environment {
    Environment::new([("PULUMI_CONFIG_PASSPHRASE", text)])
}

pub(crate) fn keyring(environment: Environment) -> Keyring {
    Keyring {
        environment,
        prompt: Arc::new(NonInteractivePrompt),
        key_service: Arc::new(PrefixKeys),
        rng: Arc::new(SystemRng),
    }
}
