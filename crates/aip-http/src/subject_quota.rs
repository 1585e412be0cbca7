//! How many handles and DIDs are looked up for a caller. Each may ask servers that the caller names,
//! and everybody's PLC directory, so an app has a share, and each account in it a smaller one. The
//! counts are those of this process; nothing of who was looked up is kept in them.

use std::sync::Mutex;
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{Timestamp, lock};
use aip_storage::client::ClientId;
use aip_storage::gcra::decide;
use aip_storage::grant::Grant;
use aip_storage::rates::{Quota, Verdict};
use quick_cache::unsync::Cache;

/// For one account or network in one app.
const ACCOUNT_QUOTA: Quota = Quota {
    burst: 300,
    every: Duration::from_millis(500),
};
/// For one app.
const CLIENT_QUOTA: Quota = Quota {
    burst: 3000,
    every: Duration::from_millis(50),
};
/// Keys that are counted at a time. Above that some are forgotten, those that ask seldom first.
const MAX_KEYS: usize = 20_000;

/// Counts subjects that are looked up.
pub(crate) struct SubjectQuota(Mutex<Cache<Requester, Timestamp>>);

/// Who asks, as far as it has a share of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Requester {
    /// One account in one app.
    Account(ClientId, Did),
    /// One network without an access token, by a path of AIP v1.
    Network(String),
    /// One app.
    Client(ClientId),
    /// All networks without an access token: apart from every app, so that they take nothing from its people.
    Networks,
}

impl Requester {
    /// Who asks by a call under that grant.
    pub(crate) fn of(grant: &Grant) -> Self {
        Self::Account(grant.client_id.clone(), grant.subject.clone())
    }

    /// Those with whom it has a share in common: its app, or all networks.
    pub(crate) fn common(&self) -> Self {
        match self {
            Self::Account(client, _) | Self::Client(client) => Self::Client(client.clone()),
            Self::Network(_) | Self::Networks => Self::Networks,
        }
    }
}

impl Default for SubjectQuota {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(MAX_KEYS)))
    }
}

impl SubjectQuota {
    /// Counts so many subjects, all of them or none. The error says after how long they are permitted.
    pub(crate) fn take(
        &self,
        requester: &Requester,
        subjects: usize,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let client = requester.common();
        let mut counted = lock(&self.0);
        let of_one = take_calls(
            counted.get(requester).copied(),
            ACCOUNT_QUOTA,
            subjects,
            now,
        )?;
        let of_client = take_calls(counted.get(&client).copied(), CLIENT_QUOTA, subjects, now)?;
        for (key, arrival) in [(requester.clone(), of_one), (client, of_client)] {
            if let Some(arrival) = arrival {
                counted.insert(key, arrival);
            }
        }
        Ok(())
    }
}

/// What is to be kept after so many calls at once.
fn take_calls(
    kept: Option<Timestamp>,
    quota: Quota,
    calls: usize,
    now: Timestamp,
) -> Result<Option<Timestamp>, Duration> {
    let mut arrival = kept;
    for left in (0..calls).rev() {
        let (verdict, next) = decide(arrival, quota, now);
        if let Verdict::Refused { retry_after } = verdict {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            return Err(retry_after + quota.every.saturating_mul(left));
        }
        arrival = next.or(arrival);
    }
    Ok(arrival)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

    fn take(
        quota: &SubjectQuota,
        client: &str,
        account: &str,
        subjects: usize,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let account = Did::parse(&format!("did:web:{account}.example")).unwrap();
        let requester = Requester::Account(client.parse().unwrap(), account);
        quota.take(&requester, subjects, now)
    }

    #[test]
    fn an_account_has_a_share_that_comes_back_one_by_one() {
        let quota = SubjectQuota::default();
        for _ in 0..3 {
            assert_eq!(take(&quota, "app", "alice", 100, NOW), Ok(()));
        }
        let wait = Duration::from_millis(500);
        assert_eq!(take(&quota, "app", "alice", 1, NOW), Err(wait));
        assert_eq!(take(&quota, "app", "alice", 100, NOW), Err(wait * 100));
        // What is refused is not counted.
        assert_eq!(take(&quota, "app", "alice", 1, NOW + wait), Ok(()));
        assert_eq!(take(&quota, "app", "alice", 1, NOW + wait), Err(wait));
        // Nobody else is held back by it.
        assert_eq!(take(&quota, "app", "bob", 100, NOW), Ok(()));
        assert_eq!(take(&quota, "other", "alice", 100, NOW), Ok(()));
    }

    #[test]
    fn an_app_has_a_share_however_many_accounts_it_has() {
        let quota = SubjectQuota::default();
        for account in 0..30 {
            let account = format!("a{account}");
            assert_eq!(take(&quota, "app", &account, 100, NOW), Ok(()));
        }
        let wait = Duration::from_millis(50);
        assert_eq!(take(&quota, "app", "alice", 10, NOW), Err(wait * 10));
        // The account was not counted for what its app was refused.
        assert_eq!(take(&quota, "app", "alice", 10, NOW + wait * 10), Ok(()));
        assert_eq!(take(&quota, "other", "alice", 100, NOW), Ok(()));
    }

    #[test]
    fn networks_without_a_token_have_a_share_apart_from_every_app() {
        let quota = SubjectQuota::default();
        let of_network = |host: u8, subjects: usize| {
            let requester = Requester::Network(format!("10.0.0.{host}"));
            quota.take(&requester, subjects, NOW)
        };
        for host in 0..30 {
            assert_eq!(of_network(host, 100), Ok(()));
        }
        assert_eq!(of_network(100, 1), Err(Duration::from_millis(50)));
        for client in ["v1-apps", "other"] {
            assert_eq!(take(&quota, client, "alice", 100, NOW), Ok(()));
        }
    }
}
