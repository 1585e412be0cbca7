//! A key service, which the caller hands in: the data key of a stack is stored wrapped by it.

use std::error::Error;

use async_trait::async_trait;
use zeroize::Zeroizing;

/// Wraps data keys under keys of its own. Which one is named by the URL of `secretsprovider`.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// The data key, encrypted by the service.
    async fn wrap_key(&self, url: &str, data_key: &[u8]) -> Result<Vec<u8>, KeyServiceError>;

    /// The data key that [`KeyService::wrap_key`] encrypted.
    async fn unwrap_key(
        &self,
        url: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyServiceError>;
}

/// The service did not wrap or unwrap a data key.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct KeyServiceError {
    /// What an operator has to change.
    pub fault: KeyServiceFault,
    /// What the service reported.
    pub source: Box<dyn Error + Send + Sync>,
}

/// What an operator has to change so that a key service works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyServiceFault {
    /// Other credentials, other rights, or another state of the key.
    Denied,
    /// The URL names no key of the service, or not the one of the data key.
    Misconfigured,
    /// Nothing: the service is out of reach or ill.
    Unavailable,
}
