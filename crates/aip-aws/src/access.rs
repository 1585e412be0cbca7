//! What every call to AWS needs. HTTP and time are handed in.
//!
//! Environment and files are not: `aws-config` 1.13 reads the environment of the process and the
//! files of the machine itself. Its setters for both are private (`ProviderConfig::with_env`,
//! `with_fs`) or behind a feature for tests (`ConfigLoader::env`; looked at on 2026-11-29). A
//! program with an environment of its own hands in credentials, too: [`Aws::with_credentials`].

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aip_base::{Clock, Http};
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig, imds};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::TimeSource;

use crate::credentials::{Credentials, CredentialsError, CurrentCredentials, Profile};
use crate::http::SdkHttp;

/// How AWS is reached.
#[derive(Clone)]
pub struct Aws {
    http: SdkHttp,
    clock: Arc<dyn Clock>,
    handed_in: Option<Arc<HandedIn>>,
}

struct HandedIn {
    credentials: Credentials,
    region: Option<String>,
}

/// The SDK's clock.
#[derive(Clone)]
struct SdkClock(Arc<dyn Clock>);

impl std::fmt::Debug for SdkClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SdkClock")
    }
}

impl TimeSource for SdkClock {
    fn now(&self) -> SystemTime {
        let micros = u64::try_from(self.0.now().as_micros()).unwrap_or(0);
        UNIX_EPOCH + Duration::from_micros(micros)
    }
}

/// Attempts of one call, the first one included.
const MAX_REQUEST_ATTEMPTS: u32 = 4;

impl Aws {
    /// With the credentials and the region that the AWS tools would find.
    pub fn new(http: Arc<dyn Http>, clock: Arc<dyn Clock>) -> Self {
        Self {
            http: SdkHttp(http),
            clock,
            handed_in: None,
        }
    }

    /// With these, whatever environment and files say.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials, region: Option<&str>) -> Self {
        let region = region.map(str::to_owned);
        Self {
            handed_in: Some(Arc::new(HandedIn {
                credentials,
                region,
            })),
            ..self
        }
    }

    /// `AWS_REGION`, `AWS_DEFAULT_REGION`, or the region of the profile. The instance metadata
    /// service is not asked: outside EC2 that costs seconds.
    pub async fn region(&self, profile: &Profile) -> Option<String> {
        if let Some(handed_in) = &self.handed_in {
            return handed_in.region.clone();
        }
        let mut of_profile =
            ProfileFileRegionProvider::builder().configure(&self.provider_config());
        if let Some(name) = &profile.0 {
            of_profile = of_profile.profile_name(name);
        }
        let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(of_profile.build());
        chain.region().await.map(|region| region.to_string())
    }

    /// Credentials as the SDK looks for them
    /// (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>):
    /// environment, profile (keys, SSO, `credential_process`, assumed roles), web identity,
    /// container, instance. A profile that is named here is more specific than the environment.
    ///
    /// `region` is where STS is asked. Nothing is looked for yet.
    pub async fn credentials(&self, profile: &Profile, region: Option<&str>) -> CurrentCredentials {
        let clock = Arc::clone(&self.clock);
        let provider = match (&self.handed_in, &profile.0) {
            (Some(handed_in), _) => SharedCredentialsProvider::new(handed_in.credentials.clone()),
            (None, Some(name)) => {
                let region = region.map(|region| Region::new(region.to_owned()));
                let config = self.provider_config().with_region(region);
                let of_profile = ProfileFileCredentialsProvider::builder().configure(&config);
                SharedCredentialsProvider::new(of_profile.profile_name(name).build())
            }
            (None, None) => {
                let config = self.provider_config();
                // Nobody answers outside EC2: one attempt of two seconds tells.
                let instance = imds::Client::builder().configure(&config).max_attempts(1);
                let chain = DefaultCredentialsChain::builder()
                    .imds_client(instance.build())
                    .region(region.map(|region| Region::new(region.to_owned())))
                    .configure(config);
                SharedCredentialsProvider::new(chain.build().await)
            }
        };
        CurrentCredentials::new(provider, profile.clone(), clock)
    }

    fn provider_config(&self) -> ProviderConfig {
        ProviderConfig::empty()
            .with_http_client(self.http.clone())
            .with_time_source(SdkClock(Arc::clone(&self.clock)))
            .with_sleep_impl(TokioSleep::new())
            .with_retry_config(retry_config())
    }

    /// What the client of a service is made of, credentials included: what is wrong with them is told
    /// apart from what is wrong with a call.
    pub(crate) async fn service_config(
        &self,
        profile: &Profile,
        region: &str,
    ) -> Result<SdkConfig, CredentialsError> {
        let credentials = self.credentials(profile, Some(region)).await;
        let loader = self
            .client_config(profile, region.to_owned())
            .credentials_provider(credentials.get().await?);
        Ok(loader.load().await)
    }

    /// What the clients of all services share.
    fn client_config(&self, profile: &Profile, region: String) -> ConfigLoader {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .time_source(SdkClock(Arc::clone(&self.clock)))
            .sleep_impl(TokioSleep::new())
            .retry_config(retry_config())
            .region(Region::new(region));
        if let Some(name) = &profile.0 {
            loader = loader.profile_name(name);
        }
        if self.handed_in.is_some() {
            loader = loader.empty_test_environment();
        }
        loader
    }
}

/// A person waits: shorter pauses than the SDK's, which begin at a second.
fn retry_config() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(MAX_REQUEST_ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(2))
}
