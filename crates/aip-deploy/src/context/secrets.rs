//! The key of the encrypted values of a stack file.

use std::sync::Arc;

use pulumi_files::{Crypter, Keyring, SecretsError, StackFile};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Context, ContextError, Stack};
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

    /// A text of the stack file, decrypted; none if it is missing or empty.
    pub(crate) async fn text(
        &self,
        stack: &Stack,
        file: &StackFile,
        path: &str,
    ) -> Result<Option<SecretString>, ContextError> {
        let Some(node) = file.at(&stack.config_path(path, true)?) else {
            return Ok(None);
        };
        let text = match (node.secret(), node.scalar()) {
            (Some(ciphertext), _) => {
                let opened = self.crypter(file).await?.decrypt(ciphertext);
                opened.map_err(|source| ContextError::Value {
                    path: path.to_owned(),
                    source,
                })?
            }
            (None, Some(scalar)) => SecretString::from(scalar.text.clone()),
            (None, None) => return Ok(None),
        };
        Ok(Some(text).filter(|text| !text.expose_secret().is_empty()))
    }
}

fn in_file(file: &StackFile, source: SecretsError) -> ContextError {
    ContextError::Secrets {
        file: file.path().to_owned(),
        source,
    }
}
