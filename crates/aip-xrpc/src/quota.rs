//! How many calls an app may make, so that none uses up what a PDS allows to AIP as a whole.
//!
//! A PDS counts by address, and all apps come from AIP's: the reference allows 3000 requests in five
//! minutes. So an app has a part of that at each PDS, and each of its accounts a smaller one. The
//! counts are those of this process; replicas behind one address add up.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use aip_atproto::{Did, Origin};
use aip_base::{Timestamp, lock};
use aip_storage::gcra::decide;
use aip_storage::rates::{Quota, Verdict};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use quick_cache::unsync::Cache;

/// What the numbers are for.
const WINDOW: Duration = Duration::from_mins(5);
/// Keys that are counted at a time. Above that some are forgotten, those that are called seldom first.
const KEYS: usize = 100_000;

/// Permission sets that are read for one app, in this process. Each may cost a DNS query, a DID document
/// and a record, at servers that the app chooses, and takes the place of another that is remembered.
const SET_READS: Quota = Quota {
    burst: 100,
    every: Duration::from_secs(3),
};

/// Names of the fields that PDSs send (draft-ietf-httpapi-ratelimit-headers-05); like theirs, the
/// reset is in seconds of the epoch.
const FIELDS: [HeaderName; 4] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    HeaderName::from_static("ratelimit-policy"),
];

/// How many calls are permitted within five minutes, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Those of one app for one account.
    pub account: NonZeroUsize,
    /// Those of one app at one PDS.
    pub client: NonZeroUsize,
}

/// Counts calls.
pub struct CallQuota {
    limits: CallLimits,
    counted: Mutex<Cache<Key, Timestamp>>,
}

/// What is left to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Calls that are permitted within five minutes.
    pub limit: u32,
    /// Calls that are permitted now.
    pub remaining: u32,
    /// When all are permitted again.
    pub reset: Timestamp,
}

/// One call too many: 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {} calls {of} within five minutes", .allowance.limit)]
pub struct OverQuota {
    /// Which count is full.
    pub of: QuotaKind,
    /// What is left: nothing.
    pub allowance: Allowance,
    /// When the next call is permitted.
    pub retry_after: Duration,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaKind {
    /// The calls of one app for one account.
    Account,
    /// The calls of one app at one PDS.
    Client,
    /// The calls of one app for which a permission set is read.
    PermissionSets,
}

impl std::fmt::Display for QuotaKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Account => "of this app for this account",
            Self::Client => "of this app at this PDS",
            Self::PermissionSets => "of this app for which permission sets are read",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(String, Did),
    Client(String, Origin),
    PermissionSets(String),
}

impl CallQuota {
    /// Nothing is counted yet.
    pub fn new(limits: CallLimits) -> Self {
        Self {
            limits,
            counted: Mutex::new(Cache::new(KEYS)),
        }
    }

    /// Counts a call, unless that is one too many.
    pub(crate) fn take(
        &self,
        client: &str,
        account: &Did,
        pds: &Origin,
        now: Timestamp,
    ) -> Result<Allowance, OverQuota> {
        let counts = [
            (
                QuotaKind::Account,
                Key::Account(client.to_owned(), account.clone()),
                quota(self.limits.account),
            ),
            (
                QuotaKind::Client,
                Key::Client(client.to_owned(), pds.clone()),
                quota(self.limits.client),
            ),
        ];
        let mut counted = lock(&self.counted);
        let mut arrivals = Vec::with_capacity(counts.len());
        for (of, key, quota) in counts {
            let kept = counted.get(&key).copied();
            let (verdict, next) = decide(kept, quota, now);
            let arrival = next.or(kept).unwrap_or(now);
            let allowance = Allowance::of(quota, arrival, now);
            if let Verdict::Refused { retry_after } = verdict {
                return Err(OverQuota {
                    of,
                    allowance,
                    retry_after,
                });
            }
            arrivals.push((key, arrival, allowance));
        }
        let mut least: Option<Allowance> = None;
        for (key, arrival, allowance) in arrivals {
            counted.insert(key, arrival);
            let smaller = least.is_none_or(|least| allowance.remaining < least.remaining);
            if smaller {
                least = Some(allowance);
            }
        }
        Ok(least.unwrap_or(Allowance {
            limit: 0,
            remaining: 0,
            reset: now,
        }))
    }

    /// Whether a permission set may be read for an app, which [`Self::count_set`] counts.
    pub(crate) fn may_read_set(&self, client: &str, now: Timestamp) -> Result<(), OverQuota> {
        let key = Key::PermissionSets(client.to_owned());
        let kept = lock(&self.counted).get(&key).copied();
        match decide(kept, SET_READS, now) {
            (Verdict::Permitted, _) => Ok(()),
            (Verdict::Refused { retry_after }, _) => Err(OverQuota {
                of: QuotaKind::PermissionSets,
                allowance: Allowance::of(SET_READS, kept.unwrap_or(now), now),
                retry_after,
            }),
        }
    }

    /// Counts a permission set that is read for an app.
    pub(crate) fn count_set(&self, client: &str, now: Timestamp) {
        let key = Key::PermissionSets(client.to_owned());
        let mut counted = lock(&self.counted);
        let kept = counted.get(&key).copied();
        if let (_, Some(arrival)) = decide(kept, SET_READS, now) {
            counted.insert(key, arrival);
        }
    }
}

impl Allowance {
    fn of(quota: Quota, arrival: Timestamp, now: Timestamp) -> Self {
        let ahead = arrival.since(now);
        let free = (quota.every * quota.burst).saturating_sub(ahead);
        let calls = free.as_nanos() / quota.every.as_nanos().max(1);
        Self {
            limit: quota.burst,
            remaining: u32::try_from(calls).unwrap_or(u32::MAX),
            reset: now + ahead,
        }
    }

    /// Tells it in the headers of an answer.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in self.fields() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }

    /// The header fields that tell it.
    pub fn fields(&self) -> [(HeaderName, String); 4] {
        let [limit, remaining, reset, policy] = FIELDS;
        [
            (limit, self.limit.to_string()),
            (remaining, self.remaining.to_string()),
            (reset, self.reset.as_secs().to_string()),
            (policy, format!("{};w={}", self.limit, WINDOW.as_secs())),
        ]
    }
}

/// Whether an answer says already what is left.
pub(crate) fn tells_limits(headers: &HeaderMap) -> bool {
    FIELDS.iter().any(|name| headers.contains_key(name))
}

fn quota(calls: NonZeroUsize) -> Quota {
    let burst = u32::try_from(calls.get()).unwrap_or(u32::MAX);
    Quota {
        burst,
        every: (WINDOW / burst).max(Duration::from_micros(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

    fn calls() -> CallQuota {
        CallQuota::new(CallLimits {
            account: NonZeroUsize::new(3).unwrap(),
            client: NonZeroUsize::new(5).unwrap(),
        })
    }

    fn take(calls: &CallQuota, client: &str, account: &str, pds: &str) -> Result<u32, QuotaKind> {
        let account = Did::parse(&format!("did:web:{account}.example")).unwrap();
        let pds = Origin::parse(&format!("https://{pds}.example")).unwrap();
        let taken = calls.take(client, &account, &pds, NOW);
        taken.map(|it| it.remaining).map_err(|it| it.of)
    }

    #[test]
    fn an_account_has_a_part_of_what_its_app_has_at_a_pds() {
        let calls = calls();
        let left: Vec<_> = (0..3)
            .map(|_| take(&calls, "app", "alice", "pds"))
            .collect();
        assert_eq!(left, [Ok(2), Ok(1), Ok(0)]);
        assert_eq!(take(&calls, "app", "alice", "pds"), Err(QuotaKind::Account));
        assert_eq!(take(&calls, "app", "bob", "pds"), Ok(1));
        assert_eq!(take(&calls, "app", "bob", "pds"), Ok(0));
        assert_eq!(take(&calls, "app", "bob", "pds"), Err(QuotaKind::Client));
        // What is refused is not counted, and nobody else is held back.
        assert_eq!(take(&calls, "app", "bob", "other"), Ok(0));
        assert_eq!(take(&calls, "other", "alice", "pds"), Ok(2));
    }

    #[test]
    fn the_permission_sets_that_are_read_are_counted_by_app_and_apart_from_calls() {
        let calls = calls();
        for _ in 0..SET_READS.burst {
            assert_eq!(calls.may_read_set("app", NOW), Ok(()));
            calls.count_set("app", NOW);
        }
        for _ in 0..3 {
            let over = calls.may_read_set("app", NOW).unwrap_err();
            assert_eq!(
                (over.of, over.allowance.remaining),
                (QuotaKind::PermissionSets, 0)
            );
            assert_eq!(over.retry_after, SET_READS.every);
            assert!(over.to_string().contains("more than 100 calls"), "{over}");
            // One that began while it was asked for is one too many, and puts nothing off.
            calls.count_set("app", NOW);
        }
        let later = NOW + SET_READS.every;
        assert_eq!(calls.may_read_set("app", later), Ok(()));
        assert_eq!(calls.may_read_set("other", NOW), Ok(()));
        assert_eq!(take(&calls, "app", "alice", "pds"), Ok(2));
    }

    #[test]
    fn calls_come_back_one_by_one_and_the_headers_say_when() {
        let calls = calls();
        let account = Did::parse("did:web:alice.example").unwrap();
        let pds = Origin::parse("https://pds.example").unwrap();
        for _ in 0..3 {
            assert!(calls.take("app", &account, &pds, NOW).is_ok());
        }
        let over = calls.take("app", &account, &pds, NOW).unwrap_err();
        assert_eq!(over.retry_after, Duration::from_secs(100));
        let mut headers = HeaderMap::new();
        over.allowance.write_headers(&mut headers);
        let said = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(said("ratelimit-limit"), "3");
        assert_eq!(said("ratelimit-remaining"), "0");
        assert_eq!(said("ratelimit-reset"), (NOW.as_secs() + 300).to_string());
        assert_eq!(said("ratelimit-policy"), "3;w=300");
        let later = NOW + over.retry_after;
        assert!(calls.take("app", &account, &pds, later).is_ok());
        assert!(calls.take("app", &account, &pds, later).is_err());
    }
}
