//! Key rings for tests.

use std::sync::Arc;

use aip_base::{Http, SystemClock, SystemRng};
use pulumi_files::{Environment, Keyring, Prompt};
use secrecy::SecretString;

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

pub(crate) fn passphrase(text: &str) -> Environment {
    Environment::new([("PULUMI_CONFIG_PASSPHRASE", text)])
}

pub(crate) fn keyring(environment: Environment, http: Arc<dyn Http>) -> Keyring {
    Keyring {
        environment,
        prompt: Arc::new(NonInteractivePrompt),
        http,
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
    }
}
