//! Rate limits: what is limited, by how much, and why. By the network of the caller, by the client
//! that it says it is, or by the account or grant of its token, over all replicas.
//!
//! What goes well costs nothing here: calls are counted where they make others work (sign-ins), or
//! only once they have failed, and who proves itself is not refused for what others behind the same
//! address did. A storage that fails permits: a limit is no reason to be away.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{Blame, RowId, Timestamp};
use aip_storage::rates::{Quota, RateLimits, Verdict};
use http::StatusCode;
use http::header::RETRY_AFTER;
use quick_cache::sync::Cache;

use crate::api_error::ApiError;
use crate::caller::Caller;

/// Something that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Sign-ins that begin. Each asks servers that the caller names, several times.
    SignIns,
    /// Failed authentications of clients, by network: whoever guesses secrets does it slowly.
    ClientFailuresPerNetwork,
    /// Failed authentications of one client, from wherever they come.
    ClientFailuresPerClient,
    /// Requests pushed in the name of clients that cannot prove who they are, by network. Each is
    /// a row.
    PushedRequestsPerNetwork,
    /// Requests pushed by one client that proved who it is.
    PushedRequestsPerClient,
    /// Device codes given in the name of clients that cannot prove who they are, by network. Each is
    /// a row for a day.
    DeviceCodesPerNetwork,
    /// Device codes given to one client that proved who it is.
    DeviceCodesPerClient,
    /// Client assertions signed in the name of clients that cannot prove who they are, by network.
    Assertions,
    /// Client assertions signed for one client that proved who it is.
    AssertionsOfClient,
    /// Clients that register themselves where anybody may, by network. Each is a row.
    Registrations,
    /// Documents of clients that are read, by network. Each is a request to a site that the caller
    /// names.
    ClientDocuments,
    /// Registration access tokens that were wrong, by network.
    RegistrationFailures,
    /// User codes that were entered, right or wrong, by network: whoever guesses them does it slowly
    /// (RFC 8628 §5.1).
    UserCodes,
    /// App passwords that were given, right or wrong, by network. Each is tried at a PDS.
    AppPasswords,
    /// App passwords that one app gave for one account: whoever guesses them does it slowly, and uses up
    /// what no other app has.
    AppPasswordsPerAccount,
    /// Refused app passwords that are written to the audit log, of one app and account.
    AuditedRefusals,
    /// Tokens and keys of sessions handed out under one grant, each time with secrets that are opened.
    CredentialsPerGrant,
}

/// What is counted together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LimitKey<'a> {
    /// The calls of a network.
    Network(Caller),
    /// The calls in the name of a registered client.
    Client(&'a str),
    /// The calls of a client for an account.
    ClientAndAccount(&'a str, &'a Did),
    /// The calls under a grant.
    Grant(RowId),
}

/// By how much something is limited.
struct Rule {
    /// Its name in keys and metrics.
    name: &'static str,
    /// For one address of the Internet, or one client.
    quota: Quota,
    /// What a person or a program is shown.
    message: &'static str,
}

impl Limit {
    /// The table. Generous for a household and for an office; many people behind one address
    /// sign in once in months.
    #[expect(clippy::too_many_lines, reason = "a table, with a row for each limit")]
    const fn rule(self) -> Rule {
        match self {
            Self::SignIns => Rule {
                name: "sign_ins",
                quota: Quota {
                    burst: 60,
                    every: Duration::from_secs(1),
                },
                message: "Too many sign-ins were begun from your network.",
            },
            Self::ClientFailuresPerNetwork => Rule {
                name: "client_failures",
                quota: Quota {
                    burst: 60,
                    every: Duration::from_secs(1),
                },
                message: "Too many client authentications from your network failed.",
            },
            Self::ClientFailuresPerClient => Rule {
                name: "failures_of_client",
                quota: Quota {
                    burst: 60,
                    every: Duration::from_secs(1),
                },
                message: "Too many authentications of this client failed.",
            },
            Self::PushedRequestsPerNetwork => Rule {
                name: "pushed_requests",
                quota: Quota {
                    burst: 60,
                    every: Duration::from_secs(1),
                },
                message: "Too many requests were pushed from your network.",
            },
            Self::PushedRequestsPerClient => Rule {
                name: "pushed_requests_of_client",
                quota: Quota {
                    burst: 1000,
                    every: Duration::from_millis(10),
                },
                message: "This client pushed too many requests.",
            },
            Self::DeviceCodesPerNetwork => Rule {
                name: "device_codes",
                quota: Quota {
                    burst: 20,
                    every: Duration::from_secs(10),
                },
                message: "Too many devices of your network asked for a code.",
            },
            Self::DeviceCodesPerClient => Rule {
                name: "device_codes_of_client",
                quota: Quota {
                    burst: 100,
                    every: Duration::from_secs(1),
                },
                message: "Too many devices of this client asked for a code.",
            },
            Self::Assertions => Rule {
                name: "assertions",
                quota: Quota {
                    burst: 60,
                    every: Duration::from_secs(1),
                },
                message: "Too many client assertions were asked for from your network.",
            },
            Self::AssertionsOfClient => Rule {
                name: "assertions_of_client",
                quota: Quota {
                    burst: 1000,
                    every: Duration::from_millis(10),
                },
                message: "This client asked for too many client assertions.",
            },
            Self::Registrations => Rule {
                name: "registrations",
                quota: Quota {
                    burst: 10,
                    every: Duration::from_mins(1),
                },
                message: "Too many apps were registered from your network.",
            },
            Self::ClientDocuments => Rule {
                name: "client_documents",
                quota: Quota {
                    burst: 20,
                    every: Duration::from_secs(10),
                },
                message: "Too many new apps were used from your network.",
            },
            Self::RegistrationFailures => Rule {
                name: "registration_failures",
                quota: Quota {
                    burst: 60,
                    every: Duration::from_secs(1),
                },
                message: "Too many registration tokens from your network were wrong.",
            },
            Self::UserCodes => Rule {
                name: "user_codes",
                quota: Quota {
                    burst: 10,
                    every: Duration::from_secs(30),
                },
                message: "Too many codes were entered from your network.",
            },
            Self::AppPasswords => Rule {
                name: "app_passwords",
                quota: Quota {
                    burst: 60,
                    every: Duration::from_secs(1),
                },
                message: "Too many app passwords were given from your network.",
            },
            Self::AppPasswordsPerAccount => Rule {
                name: "app_passwords_of_account",
                quota: Quota {
                    burst: 10,
                    every: Duration::from_mins(1),
                },
                message: "This app gave too many app passwords for this account.",
            },
            Self::AuditedRefusals => Rule {
                name: "noted_refusals",
                quota: Quota {
                    burst: 1,
                    every: Duration::from_mins(1),
                },
                message: "Too many refusals were noted.",
            },
            Self::CredentialsPerGrant => Rule {
                name: "credentials_of_grant",
                quota: Quota {
                    burst: 60,
                    every: Duration::from_secs(1),
                },
                message: "This app asked for its credentials too often; it can use them until `expires_at`.",
            },
        }
    }
}

/// An address that is not of the Internet stands for this many.
const PRIVATE_NETWORK_FACTOR: u32 = 100;

/// Networks and clients that are held off at a time. One that is forgotten is counted again.
const MAX_BLOCKED_KEYS: usize = 10_000;

/// Counts calls.
pub struct RateLimiter {
    rates: Option<Arc<dyn RateLimits>>,
    /// Until when a network or client need not be counted to be refused. In this process: it
    /// spares the storage the questions of a flood.
    blocked_until: Cache<(&'static str, String), Timestamp>,
}

impl RateLimiter {
    /// Counts in `rates`.
    pub fn new(rates: Arc<dyn RateLimits>) -> Self {
        Self::with(Some(rates))
    }

    /// Permits everything.
    pub fn off() -> Self {
        Self::with(None)
    }

    fn with(rates: Option<Arc<dyn RateLimits>>) -> Self {
        Self {
            rates,
            blocked_until: Cache::new(MAX_BLOCKED_KEYS),
        }
    }

    /// Whether anything is limited.
    pub(crate) fn is_on(&self) -> bool {
        self.rates.is_some()
    }

    /// Counts a call, unless that is one too many.
    pub(crate) async fn count(
        &self,
        limit: Limit,
        key: LimitKey<'_>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let wait = self.take(limit, key, now).await;
        wait.map_or(Ok(()), |wait| Err(refused(limit, wait)))
    }

    /// Likewise, of what is left out without a word when it is one too many.
    pub(crate) async fn permits(&self, limit: Limit, key: LimitKey<'_>, now: Timestamp) -> bool {
        self.take(limit, key, now).await.is_none()
    }

    /// Counts a call. For how long there is none, if this is one too many.
    async fn take(&self, limit: Limit, key: LimitKey<'_>, now: Timestamp) -> Option<Duration> {
        let rates = self.rates.as_ref()?;
        let Rule { name, quota, .. } = limit.rule();
        let (key, quota) = match key {
            LimitKey::Network(caller) if !caller.is_public() => {
                (caller.network(), for_private_network(quota))
            }
            LimitKey::Network(caller) => (caller.network(), quota),
            LimitKey::Client(id) => (id.to_owned(), quota),
            LimitKey::ClientAndAccount(client, did) => (format!("{client} {did}"), quota),
            LimitKey::Grant(id) => (id.to_string(), quota),
        };
        let held = (name, key);
        let until = self.blocked_until.get(&held).map(|until| until.since(now));
        if let Some(wait) = until.filter(|wait| !wait.is_zero()) {
            return Some(wait);
        }
        match rates.take(&format!("{name}:{}", held.1), quota, now).await {
            Ok(Verdict::Permitted) => None,
            Ok(Verdict::Refused { retry_after }) => {
                self.blocked_until.insert(held, now + retry_after);
                Some(retry_after)
            }
            Err(error) => {
                metrics::counter!("aip_rate_limit_failures_total", "limit" => name).increment(1);
                tracing::warn!(%error, limit = name, "rate limiter unavailable, allowing the request");
                None
            }
        }
    }
}

/// An address that is not of the Internet is most often that of a proxy, with everybody behind it.
fn for_private_network(quota: Quota) -> Quota {
    Quota {
        burst: quota.burst * PRIVATE_NETWORK_FACTOR,
        every: quota.every / PRIVATE_NETWORK_FACTOR,
    }
}

/// 429 (RFC 6585 §4). OAuth has no code for it; `temporarily_unavailable` says what to do.
fn refused(limit: Limit, wait: Duration) -> ApiError {
    let Rule { name, message, .. } = limit.rule();
    metrics::counter!("aip_rate_limited_total", "limit" => name).increment(1);
    let seconds = wait.as_micros().div_ceil(1_000_000);
    let unit = if seconds == 1 { "second" } else { "seconds" };
    ApiError::caller(
        StatusCode::TOO_MANY_REQUESTS,
        "temporarily_unavailable",
        format!("{message} Please try again in {seconds} {unit}."),
    )
    .with_detail(Blame::Caller, format!("over the limit `{name}`"))
    .with(RETRY_AFTER, &seconds.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aip_base::PeerAddr;
    use aip_storage::StorageError;
    use async_trait::async_trait;
    use http::{Extensions, HeaderMap};

    use super::*;
    use crate::caller::TrustedProxies;

    /// A storage that is away.
    struct UnavailableRates;

    #[async_trait]
    impl RateLimits for UnavailableRates {
        async fn take(&self, _: &str, _: Quota, _: Timestamp) -> Result<Verdict, StorageError> {
            Err(StorageError::Unavailable("away".into()))
        }
    }

    /// A storage that permits nothing, and counts how often it was asked.
    #[derive(Default)]
    struct RefusingRates(AtomicUsize);

    #[async_trait]
    impl RateLimits for RefusingRates {
        async fn take(&self, _: &str, _: Quota, _: Timestamp) -> Result<Verdict, StorageError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let retry_after = Duration::from_millis(1001);
            Ok(Verdict::Refused { retry_after })
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
    const LIMIT: Limit = Limit::SignIns;

    fn caller() -> LimitKey<'static> {
        let mut extensions = Extensions::new();
        let peer = SocketAddr::new("203.0.113.9".parse().unwrap(), 1);
        extensions.insert(PeerAddr(peer));
        let caller = TrustedProxies::default().caller(&extensions, &HeaderMap::new());
        LimitKey::Network(caller)
    }

    #[tokio::test]
    async fn a_storage_that_is_away_permits() {
        let limiter = RateLimiter::new(Arc::new(UnavailableRates));
        for _ in 0..1000 {
            assert!(limiter.count(LIMIT, caller(), NOW).await.is_ok());
        }
    }

    #[tokio::test]
    async fn who_is_over_the_limit_is_held_off_until_the_time_has_passed() {
        let asked = Arc::new(RefusingRates::default());
        let limiter = RateLimiter::new(Arc::clone(&asked) as Arc<dyn RateLimits>);
        let later = |millis| NOW + Duration::from_millis(millis);
        for at in [0, 1, 1000] {
            assert!(limiter.count(LIMIT, caller(), later(at)).await.is_err());
        }
        assert_eq!(asked.0.load(Ordering::Relaxed), 1, "the storage is spared");
        assert!(limiter.count(LIMIT, caller(), later(1001)).await.is_err());
        assert_eq!(asked.0.load(Ordering::Relaxed), 2);
        let client = LimitKey::Client("app");
        assert!(limiter.count(LIMIT, client, NOW).await.is_err());
        assert_eq!(asked.0.load(Ordering::Relaxed), 3, "a client is no network");
    }

    #[tokio::test]
    async fn switched_off_it_permits_everything() {
        let limiter = RateLimiter::off();
        assert!(limiter.count(LIMIT, caller(), NOW).await.is_ok());
    }
}
