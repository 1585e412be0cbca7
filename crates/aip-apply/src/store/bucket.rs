//! State in a bucket: `If-None-Match: *` and `If-Match`
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aip_aws::{Aws, CredentialsError, CurrentCredentials, Profile, xml_field};
use aip_base::Environment;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::path::Path;
use object_store::{
    CredentialProvider, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig,
    UpdateVersion,
};
use pulumi_files::Bucket as BucketUrl;
use tokio::sync::OnceCell;

use super::StoreError;
use super::blobs::{Blobs, Version, WriteOutcome};
use crate::error_text::root_cause;

/// A bucket of S3, or of something that speaks its protocol.
pub(super) struct Bucket {
    /// Name, prefix and parameters.
    parts: BucketUrl,
    endpoint: Option<String>,
    aws: Aws,
    /// Without its parameters.
    url: String,
    /// Made when it is first used: the region may have to be looked for.
    store: OnceCell<Arc<dyn ObjectStore>>,
}

/// Where a bucket is looked for if nobody says; S3 names the right region in its answer.
const DEFAULT_REGION: &str = "us-east-1";

impl Bucket {
    /// The bucket of a URL; nothing is sent yet.
    pub(super) fn new(bucket: &BucketUrl, environment: &Environment, aws: &Aws) -> Self {
        let variable = |name| environment.non_empty(name).map(str::to_owned);
        Self {
            endpoint: bucket
                .endpoint
                .clone()
                .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
                .or_else(|| variable("AWS_ENDPOINT_URL")),
            url: bucket.url.split('?').next().unwrap_or_default().to_owned(),
            parts: bucket.clone(),
            aws: aws.clone(),
            store: OnceCell::new(),
        }
    }

    async fn store(&self) -> Result<&Arc<dyn ObjectStore>, StoreError> {
        self.store.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let profile = Profile(self.parts.profile.clone());
        let region = match &self.parts.region {
            Some(region) => Some(region.clone()),
            None => self.aws.region(&profile).await,
        };
        let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let credentials = self.aws.credentials(&profile, Some(&region)).await;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.parts.name)
            .with_region(region)
            .with_credentials(Arc::new(BucketCredentials(credentials)))
            .with_retry(RetryConfig {
                max_retries: 3,
                retry_timeout: Duration::from_secs(20),
                ..RetryConfig::default()
            });
        builder = match &self.endpoint {
            Some(endpoint) => builder
                .with_allow_http(endpoint.starts_with("http://"))
                .with_endpoint(endpoint)
                .with_virtual_hosted_style_request(false),
            None => builder.with_virtual_hosted_style_request(!self.parts.path_style),
        };
        let store = builder.build().map_err(|error| StoreError::Unreachable {
            url: self.url.clone(),
            reason: error.to_string(),
        })?;
        let prefix = self.parts.prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return Ok(Arc::new(store));
        }
        Ok(Arc::new(object_store::prefix::PrefixStore::new(
            store, prefix,
        )))
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
        let store = self.store().await?;
        match store
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
        match self.store().await?.get(&Path::from(path)).await {
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
        match self.store().await?.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(&error)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let prefix = Path::from(prefix);
        let store = self.store().await?;
        let objects = store
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
    let (denied, reason) = match error {
        Error::PermissionDenied { .. } => {
            (true, said.unwrap_or_else(|| "403 Forbidden".to_owned()))
        }
        Error::Unauthenticated { source, .. } => match source.downcast_ref::<CredentialsError>() {
            // Ours, when there are no credentials to ask with.
            Some(error) => (error.is_denied(), error.to_string()),
            None => (true, said.unwrap_or_else(|| "401 Unauthorized".to_owned())),
        },
        Error::NotFound { .. } => (false, "there is no such bucket".to_owned()),
        error => {
            let denied = code.is_some_and(|code| DENIED_CODES.contains(&code.as_str()));
            (denied, said.unwrap_or_else(|| root_cause(error)))
        }
    };
    if denied {
        StoreError::Denied { url, reason }
    } else {
        StoreError::Unreachable { url, reason }
    }
}

/// The credentials of the AWS SDK, for `object_store`.
struct BucketCredentials(CurrentCredentials);

impl fmt::Debug for BucketCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl CredentialProvider for BucketCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let credentials = self.0.get().await;
        let credentials = credentials.map_err(|error| object_store::Error::Unauthenticated {
            path: String::new(),
            source: Box::new(error),
        })?;
        Ok(Arc::new(AwsCredential {
            key_id: credentials.access_key_id().to_owned(),
            secret_key: credentials.secret_access_key().to_owned(),
            token: credentials.session_token().map(str::to_owned),
        }))
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
        assert!(matches!(error, StoreError::Denied { .. }), "{error}");
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
        assert!(matches!(slow, StoreError::Unreachable { .. }), "{slow}");
    }
}
