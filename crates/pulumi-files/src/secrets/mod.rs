//! The encryption of a stack's values: which provider, its key, and the change to another one.

mod crypter;
mod key_service;
mod passphrase;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use aip_base::{Environment, Rng};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use yaml_lossless::{Change, Tree};
use zeroize::Zeroizing;

use crate::stack_file::{Encryption, StackFile, StackFileError};

pub use crypter::{Crypter, CrypterError};
pub use key_service::{KeyService, KeyServiceError, KeyServiceFault};
pub use passphrase::{PassphraseError, Prompt};

use crypter::KEY_BYTES;

/// Everything that opening a crypter may need.
#[derive(Clone)]
pub struct Keyring {
    /// The environment.
    pub environment: Environment,
    /// Asks for a passphrase.
    pub prompt: Arc<dyn Prompt>,
    /// Wraps the data keys of `awskms://` providers.
    pub key_service: Arc<dyn KeyService>,
    /// Randomness for salts, keys and nonces.
    pub rng: Arc<dyn Rng>,
}

/// Why values can not be decrypted or encrypted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum SecretsError {
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error(transparent)]
    KeyService(#[from] KeyServiceError),
    #[error("the secrets provider `{provider}` is not supported: use a passphrase or awskms://…")]
    Unsupported {
        /// Its URL.
        provider: String,
    },
    #[error("the stack file names the secrets provider {provider} but has no `encryptedkey`")]
    NoKey {
        /// Its URL.
        provider: String,
    },
    #[error("`encryptedkey` is damaged")]
    BadKey,
    /// The file has secrets but neither salt nor key.
    #[error("the stack file has encrypted values but no `encryptionsalt` and no `secretsprovider`")]
    NotInitialised,
    #[error("line {line}: {source}")]
    Value { line: usize, source: CrypterError },
    #[error(transparent)]
    Crypter(#[from] CrypterError),
    #[error(transparent)]
    File(#[from] StackFileError),
}

/// A provider, told from its URL.
enum Provider<'a> {
    Passphrase,
    AwsKms(&'a str),
}

/// The provider of a file; without `secretsprovider` it is a passphrase.
fn provider_of_file(encryption: &Encryption) -> Result<Provider<'_>, SecretsError> {
    provider_of(encryption.provider.as_deref().unwrap_or("passphrase"))
}

fn provider_of(text: &str) -> Result<Provider<'_>, SecretsError> {
    match text {
        "" | "passphrase" | "default" => Ok(Provider::Passphrase),
        url if url.starts_with("awskms://") => Ok(Provider::AwsKms(url)),
        other => Err(SecretsError::Unsupported {
            provider: other.to_owned(),
        }),
    }
}

impl Keyring {
    /// Opens the crypter of a stack file; an error if it has none.
    pub async fn open(&self, encryption: &Encryption) -> Result<Crypter, SecretsError> {
        match provider_of_file(encryption)? {
            Provider::Passphrase => {
                let salt = encryption
                    .salt
                    .as_deref()
                    .ok_or(SecretsError::NotInitialised)?;
                Ok(passphrase::open(
                    salt,
                    &self.environment,
                    self.prompt.as_ref(),
                )?)
            }
            Provider::AwsKms(url) => {
                let wrapped = encryption.encrypted_key.as_deref();
                let wrapped = wrapped.ok_or_else(|| SecretsError::NoKey {
                    provider: url.to_owned(),
                })?;
                let blob = STANDARD.decode(wrapped).map_err(|_| SecretsError::BadKey)?;
                let key = self.key_service.unwrap_key(url, &blob).await?;
                let key: &[u8; KEY_BYTES] = key
                    .as_slice()
                    .try_into()
                    .map_err(|_| SecretsError::BadKey)?;
                Ok(Crypter::new(key)?)
            }
        }
    }

    /// Opens the crypter of a stack file, or gives the file one.
    pub async fn open_or_create(&self, file: &mut StackFile) -> Result<Crypter, SecretsError> {
        let encryption = file.encryption();
        let fresh = match provider_of_file(&encryption)? {
            Provider::Passphrase => encryption.salt.is_none(),
            Provider::AwsKms(_) => encryption.encrypted_key.is_none(),
        };
        if !fresh {
            return self.open(&encryption).await;
        }
        let provider = encryption.provider.as_deref().unwrap_or("passphrase");
        let (crypter, encryption) = self.create(provider, None).await?;
        file.set_encryption(&encryption)?;
        Ok(crypter)
    }

    /// Makes a key of `provider`. A passphrase that is not given is found or asked for.
    pub async fn create(
        &self,
        provider: &str,
        passphrase: Option<SecretString>,
    ) -> Result<(Crypter, Encryption), SecretsError> {
        let rng = self.rng.as_ref();
        match provider_of(provider)? {
            Provider::Passphrase => {
                let (crypter, salt) = match passphrase {
                    Some(passphrase) => passphrase::create_with(&passphrase, rng)?,
                    None => passphrase::create(&self.environment, self.prompt.as_ref(), rng)?,
                };
                Ok((
                    crypter,
                    Encryption {
                        salt: Some(salt),
                        ..Encryption::default()
                    },
                ))
            }
            Provider::AwsKms(url) => {
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                rng.fill(key.as_mut_slice());
                let wrapped = self.key_service.wrap_key(url, key.as_slice()).await?;
                let encryption = Encryption {
                    provider: Some(url.to_owned()),
                    encrypted_key: Some(STANDARD.encode(wrapped)),
                    salt: None,
                };
                Ok((Crypter::new(&key)?, encryption))
            }
        }
    }

    /// Encrypts every value again under `provider`. All or nothing: one value that does not
    /// decrypt, and the file (in memory, and so on disk) is what it was.
    pub async fn change_provider(
        &self,
        file: &mut StackFile,
        provider: &str,
        passphrase: Option<SecretString>,
    ) -> Result<usize, SecretsError> {
        let secrets = file.secrets();
        let old = if secrets.is_empty() {
            None
        } else {
            Some(self.open(&file.encryption()).await?)
        };
        let mut plain = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let Some(old) = &old else { break };
            let value = old.decrypt(&secret.ciphertext);
            let value = value.map_err(|source| SecretsError::Value {
                line: secret.line,
                source,
            })?;
            plain.push((secret.steps, value));
        }
        let (crypter, encryption) = self.create(provider, passphrase).await?;
        let mut changed = file.clone();
        changed.set_encryption(&encryption)?;
        for (steps, value) in &plain {
            let ciphertext = crypter.encrypt(value.expose_secret(), self.rng.as_ref())?;
            changed.edit(steps, &Change::Set(Tree::secret(ciphertext)))?;
        }
        *file = changed;
        Ok(plain.len())
    }
}
