//! Rate limits: calls are counted by the network of the caller, by the client that it says it is, or by
//! the account or grant of its token, over all replicas.
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

/// Something that is limited: one address of the Internet, or one client, may do it `burst` times at
/// once, and once more `every` so often. Limits are generous for a household and for an office; many
/// people behind one address sign in once in months. What one endpoint alone limits is said there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    name: &'static str,
    quota: Quota,
    message: &'static str,
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

impl Limit {
    /// Sign-ins that begin. Each asks servers that the caller names, several times.
    pub(crate) const SIGN_INS: Self = Self::new(
        "sign_ins",
        60,
        Duration::from_secs(1),
        "Too many sign-ins were begun from your network.",
    );

    /// Failed authentications of clients, by network: whoever guesses secrets does it slowly.
    pub(crate) const CLIENT_FAILURES_PER_NETWORK: Self = Self::new(
        "client_failures",
        60,
        Duration::from_secs(1),
        "Too many client authentications from your network failed.",
    );

    /// Failed authentications of one client, from wherever they come.
    pub(crate) const CLIENT_FAILURES_PER_CLIENT: Self = Self::new(
        "failures_of_client",
        60,
        Duration::from_secs(1),
        "Too many authentications of this client failed.",
    );

    /// Documents of clients that are read, by network. Each is a request to a site that the caller
    /// names.
    pub(crate) const CLIENT_DOCUMENTS: Self = Self::new(
        "client_documents",
        20,
        Duration::from_secs(10),
        "Too many new apps were used from your network.",
    );

    /// `name` is its own, in keys and metrics; `message` is what a person or a program is shown.
    pub(crate) const fn new(
        name: &'static str,
        burst: u32,
        every: Duration,
        message: &'static str,
    ) -> Self {
        Self {
            name,
            quota: Quota { burst, every },
            message,
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
        let Limit { name, quota, .. } = limit;
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
    let Limit { name, message, .. } = limit;
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
    const LIMIT: Limit = Limit::SIGN_INS;

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

    /// Two of one name would count together.
    #[test]
    fn every_limit_has_a_name_of_its_own() {
        let mut folders = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src").into()];
        let mut names = Vec::new();
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
                let path = file.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(path).unwrap();
                let limits = text.split(" = ").skip(1);
                let limits = limits
                    .filter(|it| it.starts_with("Limit::new(") || it.starts_with("Self::new("));
                names.extend(limits.map(|it| it.split('"').nth(1).unwrap().to_owned()));
            }
        }
        let all = names.len();
        assert!(
            names.iter().any(|it| it == "sign_ins") && all > 10,
            "{names:?}"
        );
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }

    #[tokio::test]
    async fn switched_off_it_permits_everything() {
        let limiter = RateLimiter::off();
        assert!(limiter.count(LIMIT, caller(), NOW).await.is_ok());
    }
}
