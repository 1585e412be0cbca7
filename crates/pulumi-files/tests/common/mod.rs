//! Key rings for tests.

use std::sync::Arc;

use aip_aws::{Aws, Credentials};
use aip_base::{Environment, Http, SystemClock, SystemRng};
use pulumi_files::{Keyring, Prompt};
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

/// With the credentials of nobody, and a region only where a test names one.
pub(crate) fn keyring(environment: Environment, http: Arc<dyn Http>) -> Keyring {
    let credentials = Credentials::new("AKID", "secret", None, None, "test");
    Keyring {
        environment,
        prompt: Arc::new(NonInteractivePrompt),
        aws: Aws::new(http, Arc::new(SystemClock)).with_credentials(credentials, None),
        rng: Arc::new(SystemRng),
    }
}
