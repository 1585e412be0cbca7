//! Credentials until they expire, and why there are none.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aip_base::{Clock, Timestamp, terminal_excerpt};
use aws_config::credential_process::CredentialProcessProvider;
use aws_config::imds::client::error::ImdsError;
use aws_config::meta::ProviderChainError;
use aws_credential_types::provider::error::CredentialsError as SdkCredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::error::ErrorMetadata;
use tokio::sync::Mutex;

pub use aws_credential_types::Credentials;

use crate::text::causes;

/// The section of `~/.aws/config` and `~/.aws/credentials` that a URL names; without a name,
/// `AWS_PROFILE` or `default`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile(pub Option<String>);

/// No credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No source has any. What is wrong with the profile, if anything.
    #[error(
        "no AWS credentials found{}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, \
         or run `aws configure`", .0.as_ref().map_or(String::new(), |why| format!(" ({why})"))
    )]
    NotFound(Option<String>),
    /// The profile that the URL names is missing, or says nothing of credentials.
    #[error("the AWS profile `{name}` gives no credentials: {reason}")]
    Profile {
        /// Its name.
        name: String,
        /// What the SDK says.
        reason: String,
    },
    /// A service that gives credentials cannot be reached.
    #[error("no AWS credentials: {0}")]
    Unreachable(String),
    /// A source has an error of its own: a file, a program, a service that refuses.
    #[error("no AWS credentials: {reason}{}", sso_hint(reason, profile.as_deref()))]
    Source {
        /// What the source reported; never a secret value.
        reason: String,
        /// The profile that the URL names.
        profile: Option<String>,
    },
}

impl CredentialsError {
    /// Whether other credentials are needed; otherwise a service is out of reach.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::Profile { .. } | Self::Source { .. } => true,
            Self::Unreachable(_) => false,
        }
    }
}

/// The command that begins a new SSO session, where the old one has expired.
fn sso_hint(reason: &str, profile: Option<&str>) -> String {
    if !reason.contains("SSO token") {
        return String::new();
    }
    let profile = profile.map_or(String::new(), |name| format!(" --profile {name}"));
    format!("; run `aws sso login{profile}`")
}

/// New credentials are asked for this long before the old ones expire: a request takes its time,
/// and clocks differ.
const EXPIRY_MARGIN: Duration = Duration::from_mins(5);

/// Credentials, asked for again when they are about to expire.
pub struct CurrentCredentials {
    provider: SharedCredentialsProvider,
    profile: Profile,
    clock: Arc<dyn Clock>,
    current: Mutex<Option<Credentials>>,
}

impl std::fmt::Debug for CurrentCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CurrentCredentials")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl CurrentCredentials {
    pub(crate) fn new(
        provider: SharedCredentialsProvider,
        profile: Profile,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            provider,
            profile,
            clock,
            current: Mutex::new(None),
        }
    }

    /// Credentials for a request that is sent now.
    pub async fn get(&self) -> Result<Credentials, CredentialsError> {
        let mut current = self.current.lock().await;
        let usable_until = self.clock.now() + EXPIRY_MARGIN;
        match current.as_ref() {
            Some(credentials) if !expires_before(credentials, usable_until) => {
                Ok(credentials.clone())
            }
            _ => {
                let mut found = self.provider.provide_credentials().await;
                if found.as_ref().is_err_and(is_login_session) {
                    found = self.login_session().await;
                }
                let found = found.map_err(|error| self.explain(&error))?;
                *current = Some(found.clone());
                Ok(found)
            }
        }
    }

    /// The credentials of an `aws login` session, from the AWS CLI, which keeps it. The SDK's own
    /// provider (`credentials-login` of `aws-config` 1.13, looked at on 2026-11-29) links the
    /// crate `p256`, and cryptography comes from aws-lc-rs alone here.
    async fn login_session(&self) -> Result<Credentials, SdkCredentialsError> {
        let profile = self.profile.0.as_ref().map_or(String::new(), |name| {
            // As one word of the shell.
            format!(" --profile '{}'", name.replace('\'', r"'\''"))
        });
        let command = format!("aws configure export-credentials --format process{profile}");
        CredentialProcessProvider::new(command)
            .provide_credentials()
            .await
    }

    fn explain(&self, error: &SdkCredentialsError) -> CredentialsError {
        let not_on_ec2 = || {
            causes(error)
                .any(|cause| matches!(cause.downcast_ref(), Some(ImdsError::FailedToLoadToken(_))))
        };
        if matches!(error, SdkCredentialsError::CredentialsNotLoaded(_)) || not_on_ec2() {
            return match &self.profile.0 {
                Some(name) => CredentialsError::Profile {
                    name: name.clone(),
                    reason: reason(error),
                },
                None => CredentialsError::NotFound(profile_fault(error)),
            };
        }
        if causes(error).any(<dyn std::error::Error>::is::<ConnectorError>) {
            let innermost = causes(error).last().map(ToString::to_string);
            return CredentialsError::Unreachable(terminal_excerpt(&innermost.unwrap_or_default()));
        }
        CredentialsError::Source {
            reason: reason(error),
            profile: self.profile.0.clone(),
        }
    }
}

fn is_login_session(error: &SdkCredentialsError) -> bool {
    causes(error).any(|cause| cause.to_string().contains("credentials-login"))
}

/// What is wrong with the profile of `AWS_PROFILE`, where the whole chain found nothing. That there
/// is no profile at all is nothing wrong.
fn profile_fault(error: &SdkCredentialsError) -> Option<String> {
    let chain = causes(error)
        .find_map(|cause| cause.downcast_ref::<ProviderChainError<SdkCredentialsError>>())?;
    let of_profile = chain.attempts().iter();
    let said = of_profile
        .filter(|attempt| attempt.name() == "Profile")
        .map(|attempt| reason(attempt.error()));
    said.into_iter().find(|said| said.starts_with("profile `"))
}

/// Keys that a person made do not expire.
fn expires_before(credentials: &Credentials, then: Timestamp) -> bool {
    credentials.expiry().is_some_and(|expiry| {
        let since_epoch = expiry.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_secs(0) + since_epoch < then
    })
}

/// What happened. A refusal of a service has a code and a message; otherwise every cause but the
/// outermost, which only says that there are no credentials.
fn reason(error: &SdkCredentialsError) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in causes(error).skip(1) {
        if let Some(refusal) = cause.downcast_ref::<ErrorMetadata>()
            && let (Some(code), Some(message)) = (refusal.code(), refusal.message())
        {
            return terminal_excerpt(&format!("{code}: {message}"));
        }
        said.push(cause.to_string());
    }
    said.dedup();
    terminal_excerpt(&said.join(": "))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
    use std::time::SystemTime;

    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;

    struct ManualClock(AtomicI64);

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    /// Gives credentials that last an hour of the clock.
    #[derive(Debug)]
    struct Hourly {
        asked: Arc<AtomicUsize>,
        expires: bool,
    }

    const START_SECS: i64 = 1_800_000_000;

    impl ProvideCredentials for Hourly {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            let hours = u32::try_from(asked).unwrap();
            let start = UNIX_EPOCH + Duration::from_secs(START_SECS.unsigned_abs());
            let expiry: Option<SystemTime> = self
                .expires
                .then(|| start + Duration::from_hours(1) * hours);
            let id = format!("AKID{asked}");
            future::ProvideCredentials::ready(Ok(Credentials::new(id, "s", None, expiry, "test")))
        }
    }

    async fn asked_after(expires: bool, seconds: &[i64]) -> Vec<String> {
        let clock = Arc::new(ManualClock(AtomicI64::new(START_SECS)));
        let asked = Arc::default();
        let provider = SharedCredentialsProvider::new(Hourly { asked, expires });
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let credentials = CurrentCredentials::new(provider, Profile::default(), shared);
        let mut ids = Vec::new();
        for second in seconds {
            clock.0.store(START_SECS + second, Ordering::SeqCst);
            ids.push(credentials.get().await.unwrap().access_key_id().to_owned());
        }
        ids
    }

    #[tokio::test]
    async fn a_provider_is_asked_again_five_minutes_before_its_credentials_expire() {
        let ids = asked_after(true, &[0, 3300, 3301, 3302, 7000]).await;
        assert_eq!(ids, ["AKID1", "AKID1", "AKID2", "AKID2", "AKID3"]);
    }

    #[tokio::test]
    async fn credentials_without_an_expiry_are_asked_for_once() {
        assert_eq!(
            asked_after(false, &[0, 1_000_000]).await,
            ["AKID1", "AKID1"]
        );
    }
}
