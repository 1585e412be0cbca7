//! How many handles and DIDs are looked up for a caller. Each may ask servers that the caller names,
//! and everybody's PLC directory, so an app has a share, and each account in it a smaller one. The
//! counts are those of this process; nothing of who was looked up is kept in them.

use std::sync::Mutex;
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{Timestamp, lock};
use aip_storage::client::ClientId;
use aip_storage::gcra::decide;
use aip_storage::rates::{Quota, Verdict};
use quick_cache::unsync::Cache;

/// For one account in one app.
const OF_ACCOUNT: Quota = Quota {
    burst: 300,
    every: Duration::from_millis(500),
};
/// For one app.
const OF_CLIENT: Quota = Quota {
    burst: 3000,
    every: Duration::from_millis(50),
};
/// Keys that are counted at a time. Above that some are forgotten, those that ask seldom first.
const KEYS: usize = 20_000;

/// Counts subjects that are looked up.
pub(crate) struct SubjectQuota(Mutex<Cache<Asking, Timestamp>>);

/// Who asks, as far as it has a share of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Asking {
    /// One account in one app.
    Account(ClientId, Did),
    /// One app.
    Client(ClientId),
}

impl Default for SubjectQuota {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(KEYS)))
    }
}

impl SubjectQuota {
    /// Counts so many subjects, all of them or none. The error says after how long they are permitted.
    pub(crate) fn take(
        &self,
        client: &ClientId,
        account: &Did,
        subjects: usize,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let account = Asking::Account(client.clone(), account.clone());
        let client = Asking::Client(client.clone());
        let mut counted = lock(&self.0);
        let of_account = take_some(counted.get(&account).copied(), OF_ACCOUNT, subjects, now)?;
        let of_client = take_some(counted.get(&client).copied(), OF_CLIENT, subjects, now)?;
        for (key, arrival) in [(account, of_account), (client, of_client)] {
            if let Some(arrival) = arrival {
                counted.insert(key, arrival);
            }
        }
        Ok(())
    }
}

/// What is to be kept after so many calls at once.
fn take_some(
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
        quota.take(&client.parse().unwrap(), &account, subjects, now)
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
}
