//! A data key, wrapped and unwrapped by the Key Management Service.
//!
//! The wrapping key is named by a URL, as in go-cloud's `awskms`: `awskms://alias/NAME`,
//! `awskms://KEY-ID`, `awskms:///ARN`, with `region`, `profile`, `endpoint` and `context_NAME` as
//! parameters.

use std::collections::HashMap;

use aws_sdk_kms::Client;
use aws_sdk_kms::error::SdkError;
use aws_sdk_kms::primitives::Blob;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use http::StatusCode;
use url::Url;
use zeroize::Zeroizing;

use crate::access::Aws;
use crate::call::{CallFailure, call_failure};
use crate::credentials::{CredentialsError, Profile};

/// A key of the service and the way to reach it.
pub struct Kms {
    aws: Aws,
    key_id: String,
    context: HashMap<String, String>,
    profile: Profile,
    region: Option<String>,
    endpoint: Option<String>,
}

/// Why a data key is not wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum KmsError {
    #[error("`{url}` does not name a key: {reason}")]
    Url {
        url: String,
        /// What the parser or check reported; never a secret value.
        reason: String,
    },
    #[error("the region of the key is not known: add ?region=… to the URL or set AWS_REGION")]
    NoRegion,
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("AWS KMS in {region} cannot be reached: {reason}")]
    Unreachable {
        region: String,
        /// The innermost cause.
        reason: String,
    },
    #[error("AWS KMS refused: {code}: {message}")]
    Refused {
        /// Its code, such as `AccessDeniedException`.
        code: String,
        message: String,
    },
    /// Something answered that is not the service, or the service is ill.
    #[error("AWS KMS in {region} answered {status}{said}")]
    NotTheService {
        region: String,
        status: StatusCode,
        said: &'static str,
    },
    #[error("AWS KMS returned an invalid response")]
    InvalidResponse,
}

/// Refusals of the caller or of the key: other credentials, other rights or another state of the
/// key are needed.
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>)
const DENIED_CODES: [&str; 13] = [
    "AccessDeniedException",
    "DisabledException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "KMSInvalidStateException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "UnrecognizedClientException",
];

impl KmsError {
    /// Whether other credentials, other rights or another state of the key are needed.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Credentials(error) => error.is_denied(),
            Self::Refused { code, .. } => DENIED_CODES.contains(&code.as_str()),
            Self::Url { .. }
            | Self::NoRegion
            | Self::Unreachable { .. }
            | Self::NotTheService { .. }
            | Self::InvalidResponse => false,
        }
    }

    /// Whether the URL names no key that the service has, or not the one of the value.
    pub fn is_misconfigured(&self) -> bool {
        match self {
            Self::Url { .. } | Self::NoRegion => true,
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "NotFoundException"
                    | "IncorrectKeyException"
                    | "InvalidCiphertextException"
                    | "ValidationException"
                    | "InvalidKeyUsageException"
            ),
            Self::Credentials(_)
            | Self::Unreachable { .. }
            | Self::NotTheService { .. }
            | Self::InvalidResponse => false,
        }
    }
}

impl Kms {
    /// The key that `url` names.
    pub fn new(url: &str, aws: &Aws) -> Result<Self, KmsError> {
        let bad = |reason: String| KmsError::Url {
            url: url.to_owned(),
            reason,
        };
        let parsed = Url::parse(url).map_err(|e| bad(e.to_string()))?;
        if parsed.scheme() != "awskms" {
            return Err(bad(
                "only awskms:// keys and passphrases are supported".to_owned()
            ));
        }
        // `Url` leaves an empty host out of `awskms:///arn…`.
        let key_id = format!("{}{}", parsed.host_str().unwrap_or(""), parsed.path());
        let key_id = key_id.trim_start_matches('/').to_owned();
        if key_id.is_empty() {
            return Err(bad("the key is missing".to_owned()));
        }
        // `arn:aws:kms:REGION:ACCOUNT:key/ID`: no other region has that key.
        let of_arn = key_id
            .starts_with("arn:")
            .then(|| key_id.split(':').nth(3).map(str::to_owned))
            .flatten();
        let mut kms = Self {
            aws: aws.clone(),
            key_id,
            context: HashMap::new(),
            profile: Profile::default(),
            region: None,
            endpoint: None,
        };
        for (name, value) in parsed.query_pairs() {
            let value = value.into_owned();
            match name.as_ref() {
                "region" => kms.region = Some(value),
                "profile" => kms.profile = Profile(Some(value)),
                "endpoint" => kms.endpoint = Some(value),
                // Which SDK a Go program uses; there is one here.
                "awssdk" => {}
                name => match name.strip_prefix("context_") {
                    Some(name) => drop(kms.context.insert(name.to_owned(), value)),
                    None => return Err(bad(format!("unknown parameter `{name}`"))),
                },
            }
        }
        kms.region = of_arn.or(kms.region);
        Ok(kms)
    }

    /// Wraps a data key.
    pub async fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, KmsError> {
        let (client, region) = self.client().await?;
        let request = client
            .encrypt()
            .key_id(&self.key_id)
            .plaintext(Blob::new(plaintext))
            .set_encryption_context(Some(self.context.clone()));
        let answer = request
            .send()
            .await
            .map_err(|error| call_error(&error, region))?;
        let blob = answer.ciphertext_blob.ok_or(KmsError::InvalidResponse)?;
        Ok(blob.into_inner())
    }

    /// Unwraps a data key. The blob names its key, so this works whatever the URL calls it.
    pub async fn decrypt(&self, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let (client, region) = self.client().await?;
        let request = client
            .decrypt()
            .ciphertext_blob(Blob::new(blob))
            .set_encryption_context(Some(self.context.clone()));
        let answer = request
            .send()
            .await
            .map_err(|error| call_error(&error, region))?;
        let plaintext = answer.plaintext.ok_or(KmsError::InvalidResponse)?;
        Ok(Zeroizing::new(plaintext.into_inner()))
    }

    /// A client with its credentials: what is wrong with them is distinguished from what is wrong with
    /// the call.
    async fn client(&self) -> Result<(Client, String), KmsError> {
        let region = match &self.region {
            Some(region) => region.clone(),
            None => self
                .aws
                .region(&self.profile)
                .await
                .ok_or(KmsError::NoRegion)?,
        };
        let config = self.aws.service_config(&self.profile, &region).await?;
        let mut config = aws_sdk_kms::config::Builder::from(&config);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok((Client::from_conf(config.build()), region))
    }
}

fn call_error<E>(error: &SdkError<E, HttpResponse>, region: String) -> KmsError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match call_failure(error) {
        CallFailure::Unreachable { reason } => KmsError::Unreachable { region, reason },
        CallFailure::Refused { code, message } => KmsError::Refused { code, message },
        CallFailure::NotTheService { status, said } => KmsError::NotTheService {
            region,
            status,
            said,
        },
        CallFailure::InvalidResponse => KmsError::InvalidResponse,
    }
}
