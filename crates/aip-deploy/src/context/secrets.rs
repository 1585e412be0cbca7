//! The key of the encrypted values of a stack file.

use std::sync::Arc;

use pulumi_files::{Crypter, Keyring, SecretsError, StackFile};

use super::{Context, ContextError};
use crate::aws_keys::AwsKeys;
use crate::ui::PassphrasePrompt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretsMode {
    /// Decrypted with the stack's key.
    Decrypted,
    /// [`aip_stack::config::PLACEHOLDER`] in their place; needs no key.
    Placeholder,
}

impl Context {
    /// Opens passphrase and KMS crypters, prompting if interactive.
    pub(crate) fn keyring(&self) -> Keyring {
        Keyring {
            environment: self.environment.clone(),
            prompt: Arc::new(PassphrasePrompt(self.screen.clone())),
            key_service: Arc::new(AwsKeys(self.aws.clone())),
            rng: Arc::clone(&self.rng),
        }
    }

    /// Opens the crypter of a file that has encryption settings; cached.
    pub(crate) async fn crypter(&self, file: &StackFile) -> Result<Arc<Crypter>, ContextError> {
        let encryption = file.encryption();
        let mut cached = self.crypter.lock().await;
        if let Some((of, crypter)) = cached.as_ref()
            && *of == encryption
        {
            return Ok(Arc::clone(crypter));
        }
        let crypter = self.keyring().open(&encryption).await;
        let crypter = Arc::new(crypter.map_err(|error| in_file(file, error))?);
        *cached = Some((encryption, Arc::clone(&crypter)));
        Ok(crypter)
    }

    /// The crypter of a file, which gets one if it has none.
    pub(crate) async fn crypter_or_new(
        &self,
        file: &mut StackFile,
    ) -> Result<Arc<Crypter>, ContextError> {
        let encryption = file.encryption();
        if encryption.salt.is_some() || encryption.encrypted_key.is_some() {
            return self.crypter(file).await;
        }
        let crypter = self.keyring().open_or_create(file).await;
        let crypter = Arc::new(crypter.map_err(|error| in_file(file, error))?);
        *self.crypter.lock().await = Some((file.encryption(), Arc::clone(&crypter)));
        Ok(crypter)
    }
}

fn in_file(file: &StackFile, source: SecretsError) -> ContextError {
    ContextError::Secrets {
        file: file.path().to_owned(),
        source,
    }
}
