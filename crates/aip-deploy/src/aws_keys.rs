//! AWS's Key Management Service as the key service of stack files.

use aip_aws::{Aws, Kms, KmsError};
use async_trait::async_trait;
use pulumi_files::{KeyService, KeyServiceError, KeyServiceFault};
use zeroize::Zeroizing;

/// Wraps data keys by KMS, under the keys that `awskms://` URLs name.
pub struct AwsKeys(pub Aws);

#[async_trait]
impl KeyService for AwsKeys {
    async fn wrap_key(&self, url: &str, data_key: &[u8]) -> Result<Vec<u8>, KeyServiceError> {
        let kms = Kms::new(url, &self.0).map_err(key_service_error)?;
        kms.encrypt(data_key).await.map_err(key_service_error)
    }

    async fn unwrap_key(
        &self,
        url: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyServiceError> {
        let kms = Kms::new(url, &self.0).map_err(key_service_error)?;
        kms.decrypt(wrapped).await.map_err(key_service_error)
    }
}

pub(crate) fn key_service_error(error: KmsError) -> KeyServiceError {
    let fault = if error.is_denied() {
        KeyServiceFault::Denied
    } else if error.is_misconfigured() {
        KeyServiceFault::Misconfigured
    } else {
        KeyServiceFault::Unavailable
    };
    KeyServiceError {
        fault,
        source: error.into(),
    }
}
