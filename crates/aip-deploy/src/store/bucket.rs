//! State in a bucket: `If-None-Match: *` and `If-Match`
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aip_base::Http;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::path::Path;
use object_store::{
    CredentialProvider, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig,
    UpdateVersion,
};
use pulumi_files::aws::{AwsConfig, CredentialsError, resolve, xml_field};
use pulumi_files::{Bucket as BucketUrl, Environment};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::StoreError;
use super::blobs::{Blobs, Version, WriteOutcome};
use crate::error_text::root_cause;

/// A bucket of S3, or of something that speaks its protocol.
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    url: String,
}

impl Bucket {
    /// Opens the bucket; nothing is sent yet.
    pub(super) fn new(
        url: &BucketUrl,
        environment: &Environment,
        http: Arc<dyn Http>,
    ) -> Result<Self, StoreError> {
        let config = AwsConfig {
            region: url.region.clone(),
            profile: url.profile.clone(),
        };
        let region = config
            .region(environment)
            .unwrap_or_else(|| "us-east-1".to_owned());
        let credentials = Arc::new(CredentialChain {
            config,
            environment: environment.clone(),
            http,
            found: Mutex::new(None),
        });
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&url.name)
            .with_region(region)
            .with_credentials(credentials)
            .with_retry(RetryConfig {
                max_retries: 3,
                retry_timeout: Duration::from_secs(20),
                ..RetryConfig::default()
            })
            .with_virtual_hosted_style_request(!url.path_style && url.endpoint.is_none());
        let endpoint = url
            .endpoint
            .clone()
            .or_else(|| {
                environment
                    .non_empty("AWS_ENDPOINT_URL_S3")
                    .map(str::to_owned)
            })
            .or_else(|| environment.non_empty("AWS_ENDPOINT_URL").map(str::to_owned));
        if let Some(endpoint) = endpoint {
            builder = builder
                .with_allow_http(endpoint.starts_with("http://"))
                .with_endpoint(endpoint);
            builder = builder.with_virtual_hosted_style_request(false);
        }
        let base = url.url.split('?').next().unwrap_or_default().to_owned();
        let store = builder.build().map_err(|error| StoreError::Unreachable {
            url: base.clone(),
            reason: error.to_string(),
        })?;
        let store: Arc<dyn ObjectStore> = if url.prefix.is_empty() {
            Arc::new(store)
        } else {
            Arc::new(object_store::prefix::PrefixStore::new(
                store,
                url.prefix.trim_end_matches('/'),
            ))
        };
        Ok(Self { store, url: base })
    }

    fn error(&self, error: &object_store::Error) -> StoreError {
        failure(self.url.clone(), error)
    }

    async fn put(
        &self,
        path: &str,
        content: Bytes,
        mode: PutMode,
    ) -> Result<WriteOutcome, StoreError> {
        use object_store::Error;
        let update = matches!(mode, PutMode::Update(_));
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        match self
            .store
            .put_opts(&Path::from(path), content.into(), options)
            .await
        {
            Ok(result) => Ok(WriteOutcome::Done(result.e_tag.unwrap_or_default())),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                Ok(WriteOutcome::Changed)
            }
            // The object that was to be replaced has gone.
            Err(Error::NotFound { .. }) if update => Ok(WriteOutcome::Changed),
            Err(error) => Err(self.error(&error)),
        }
    }
}

#[async_trait]
impl Blobs for Bucket {
    fn url(&self) -> &str {
        &self.url
    }

    async fn get(&self, path: &str) -> Result<Option<(Bytes, Version)>, StoreError> {
        match self.store.get(&Path::from(path)).await {
            Ok(result) => {
                let version = result.meta.e_tag.clone().unwrap_or_default();
                let content = result.bytes().await.map_err(|e| self.error(&e))?;
                Ok(Some((content, version)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<WriteOutcome, StoreError> {
        self.put(path, content, PutMode::Create).await
    }

    async fn replace(
        &self,
        path: &str,
        content: Bytes,
        version: &Version,
    ) -> Result<WriteOutcome, StoreError> {
        let version = UpdateVersion {
            e_tag: Some(version.clone()),
            version: None,
        };
        self.put(path, content, PutMode::Update(version)).await
    }

    async fn remove(&self, path: &str) -> Result<(), StoreError> {
        match self.store.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(&error)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let prefix = Path::from(prefix);
        let objects = self
            .store
            .list(Some(&prefix))
            .map_ok(|object| object.location.to_string());
        let mut paths: Vec<String> = objects.try_collect().await.map_err(|e| self.error(&e))?;
        paths.sort();
        Ok(paths)
    }
}

/// Refusals of the caller that S3 does not give the status of one.
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>)
const DENIED_CODES: [&str; 10] = [
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// What went wrong, in our own words: the library repeats the whole answer, and S3 puts the token
/// into its answer to one that has expired.
fn failure(url: String, error: &object_store::Error) -> StoreError {
    use object_store::Error;
    let told = error.to_string();
    let code = xml_field(&told, "Code");
    let said = code.as_ref().map(|code| {
        let message = xml_field(&told, "Message").unwrap_or_default();
        format!("{code}: {message}")
    });
    let denied = code.is_some_and(|code| DENIED_CODES.contains(&code.as_str()));
    match error {
        Error::PermissionDenied { .. } => StoreError::Denied {
            url,
            reason: said.unwrap_or_else(|| "403 Forbidden".to_owned()),
        },
        Error::Unauthenticated { source, .. } => StoreError::Denied {
            url,
            // Ours, when there are no credentials to ask with.
            reason: match source.downcast_ref::<CredentialsError>() {
                Some(error) => error.to_string(),
                None => said.unwrap_or_else(|| "401 Unauthorized".to_owned()),
            },
        },
        Error::NotFound { .. } => StoreError::Unreachable {
            url,
            reason: "there is no such bucket".to_owned(),
        },
        error => {
            let reason = said.unwrap_or_else(|| root_cause(error));
            if denied {
                StoreError::Denied { url, reason }
            } else {
                StoreError::Unreachable { url, reason }
            }
        }
    }
}

/// The same credentials that the AWS tools find, profiles and web identity included.
struct CredentialChain {
    config: AwsConfig,
    environment: Environment,
    http: Arc<dyn Http>,
    found: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

/// Temporary credentials last at least a quarter of an hour.
const CREDENTIALS_MAX_AGE: Duration = Duration::from_mins(5);

impl fmt::Debug for CredentialChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for CredentialChain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut found = self.found.lock().await;
        if let Some((at, credential)) = found.as_ref()
            && at.elapsed() < CREDENTIALS_MAX_AGE
        {
            return Ok(Arc::clone(credential));
        }
        let credentials = resolve(&self.config, &self.environment, self.http.as_ref())
            .await
            .map_err(|error| object_store::Error::Unauthenticated {
                path: String::new(),
                source: Box::new(error),
            })?;
        let token = credentials.session_token.as_ref();
        let credential = Arc::new(AwsCredential {
            key_id: credentials.access_key_id,
            secret_key: credentials.secret_access_key.expose_secret().to_owned(),
            token: token.map(|token| token.expose_secret().to_owned()),
        });
        *found = Some((Instant::now(), Arc::clone(&credential)));
        Ok(credential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> StoreError {
        let source = format!("Client error with status {status}: {body}").into();
        let error = object_store::Error::Generic {
            store: "S3",
            source,
        };
        failure("s3://state".to_owned(), &error)
    }

    #[test]
    fn an_expired_token_is_a_refusal_and_is_not_repeated() {
        let body = "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>The provided \
                    token has expired.</Message><Token-0>IQoJb3JpZ2luX2VjSECRET</Token-0></Error>";
        let error = answered(400, body);
        assert_eq!(
            error.to_string(),
            "the state backend s3://state refuses access: ExpiredToken: The provided token has expired."
        );
        assert_eq!(error.exit(), crate::exit::Exit::Authentication);
    }

    #[test]
    fn what_is_no_refusal_is_out_of_reach() {
        let slow = answered(
            503,
            "<Error><Code>SlowDown</Code><Message>Please wait</Message></Error>",
        );
        assert_eq!(
            slow.to_string(),
            "the state backend s3://state cannot be reached: SlowDown: Please wait"
        );
        assert_eq!(slow.exit(), crate::exit::Exit::Failed);
    }
}
