//! Hints that wait: one for each account, so many in all, and processed at a bounded rate. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use aip_atproto::Did;
use aip_base::Timestamp;
use aip_storage::gcra;
use aip_storage::rates::{Quota, Verdict};

/// The most accounts with a hint that waits. What is over is dropped: what is remembered grows old by
/// itself, and the keeper finds out by itself, too.
const MAX_WAITING: usize = 4096;
/// Between two hints about the same account that are processed. Those in between are one.
const PAUSE_PER_ACCOUNT: Duration = Duration::from_secs(30);
/// How many hints are processed: whoever lies makes this server ask no more often.
const RATE: Quota = Quota {
    burst: 50,
    every: Duration::from_millis(100),
};
/// Between two tries to find out whether an account is in use.
const RETRY_AFTER: Duration = Duration::from_mins(1);
/// How often that is tried.
const MAX_TRIES: u32 = 3;

/// What somebody says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Its DID document or its handle has changed.
    Identity,
    /// It is in use.
    InUse,
    /// It is not in use: deactivated, suspended, taken down or deleted.
    NotInUse,
}

/// A hint to be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) did: Did,
    pub(super) hint: Hint,
    tries: u32,
}

/// The hints that wait.
#[derive(Default)]
pub(super) struct Pending {
    waiting: BTreeMap<Did, Waiting>,
    /// When the last hint about an account was processed.
    processed: BTreeMap<Did, Timestamp>,
    /// The theoretical arrival time of the next one (see [`gcra`]).
    arrival: Option<Timestamp>,
}

struct Waiting {
    hint: Hint,
    due: Timestamp,
    tries: u32,
}

impl Pending {
    /// Adds a hint that came at `now`; the newest word on whether the account is in use counts.
    /// `false` if there is no room.
    pub(super) fn add(&mut self, did: Did, hint: Hint, now: Timestamp) -> bool {
        if let Some(waiting) = self.waiting.get_mut(&did) {
            if hint != Hint::Identity {
                waiting.hint = hint;
                waiting.tries = 0;
            }
            return true;
        }
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        let processed = self.processed.get(&did);
        let due = processed.map_or(now, |at| now.max(*at + PAUSE_PER_ACCOUNT));
        let tries = 0;
        self.waiting.insert(did, Waiting { hint, due, tries });
        true
    }

    /// Takes those that are due at `now`, as many as the rate lets.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<Work> {
        self.processed
            .retain(|_, at| now.since(*at) < PAUSE_PER_ACCOUNT);
        let due = self.waiting.iter().filter(|(_, it)| it.due <= now);
        let mut due: Vec<_> = due.map(|(did, it)| (it.due, did.clone())).collect();
        due.sort();
        let mut work = Vec::new();
        for (_, did) in due {
            let (verdict, arrival) = gcra::decide(self.arrival, RATE, now);
            if verdict != Verdict::Permitted {
                break;
            }
            self.arrival = arrival;
            if let Some(Waiting { hint, tries, .. }) = self.waiting.remove(&did) {
                self.processed.insert(did.clone(), now);
                work.push(Work { did, hint, tries });
            }
        }
        work
    }

    /// Tries once more later, unless something newer is known or it was tried often enough: then
    /// `false`.
    pub(super) fn retry(&mut self, work: Work, now: Timestamp) -> bool {
        let Work { did, hint, tries } = work;
        let waiting = self.waiting.get(&did);
        if waiting.is_some_and(|it| it.hint != Hint::Identity) {
            return true;
        }
        let tries = tries + 1;
        let has_room = waiting.is_some() || self.waiting.len() < MAX_WAITING;
        if tries >= MAX_TRIES || !has_room {
            return false;
        }
        // What came meanwhile is not put off.
        let later = now + RETRY_AFTER;
        let due = waiting.map_or(later, |it| it.due.min(later));
        self.waiting.insert(did, Waiting { hint, due, tries });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn did(number: usize) -> Did {
        Did::parse(&format!("did:web:host{number}.example")).unwrap()
    }

    fn hints(work: Vec<Work>) -> Vec<(Did, Hint)> {
        work.into_iter().map(|it| (it.did, it.hint)).collect()
    }

    #[test]
    fn hints_about_one_account_are_one_and_the_newest_word_counts() {
        for (told, processed) in [
            (vec![Hint::Identity, Hint::Identity], Hint::Identity),
            (vec![Hint::NotInUse, Hint::InUse], Hint::InUse),
            (vec![Hint::InUse, Hint::NotInUse], Hint::NotInUse),
            (vec![Hint::NotInUse, Hint::Identity], Hint::NotInUse),
            (
                vec![Hint::Identity, Hint::InUse, Hint::Identity],
                Hint::InUse,
            ),
        ] {
            let mut pending = Pending::default();
            for hint in &told {
                assert!(pending.add(did(1), *hint, NOW));
            }
            assert_eq!(
                hints(pending.take_due(NOW)),
                [(did(1), processed)],
                "{told:?}"
            );
            assert_eq!(pending.take_due(NOW + 60 * SECOND), []);
        }
    }

    #[test]
    fn one_account_is_followed_every_30_seconds_however_often_it_is_named() {
        let mut pending = Pending::default();
        let mut processed = 0;
        for second in 0..300 {
            let now = NOW + second * SECOND;
            for _ in 0..10 {
                assert!(pending.add(did(1), Hint::Identity, now));
            }
            processed += pending.take_due(now).len();
        }
        assert_eq!(processed, 10);
        assert!(pending.processed.len() <= 1 && pending.waiting.len() <= 1);
    }

    #[test]
    fn many_accounts_are_followed_at_the_rate_and_the_oldest_first() {
        let mut pending = Pending::default();
        for number in 0..200 {
            let now = NOW + Duration::from_millis(u64::try_from(number).unwrap());
            assert!(pending.add(did(number), Hint::Identity, now));
        }
        let now = NOW + SECOND;
        let first = hints(pending.take_due(now));
        assert_eq!(first.len(), 50);
        assert!((0..50).all(|number| first.contains(&(did(number), Hint::Identity))));
        assert_eq!(pending.take_due(now), []);
        assert_eq!(pending.take_due(now + SECOND).len(), 10);
        assert_eq!(pending.take_due(now + 60 * SECOND).len(), 50);
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let mut pending = Pending::default();
        for number in 0..MAX_WAITING {
            assert!(pending.add(did(number), Hint::Identity, NOW));
        }
        assert!(!pending.add(did(MAX_WAITING), Hint::NotInUse, NOW));
        assert!(pending.add(did(0), Hint::NotInUse, NOW), "there already");
        let taken = pending.take_due(NOW).len();
        for number in 0..taken {
            assert!(pending.add(did(MAX_WAITING + number), Hint::InUse, NOW));
        }
        assert!(!pending.add(did(2 * MAX_WAITING), Hint::InUse, NOW));
    }

    #[test]
    fn what_could_not_be_found_out_is_tried_three_times_unless_something_newer_is_known() {
        let mut pending = Pending::default();
        pending.add(did(1), Hint::NotInUse, NOW);
        let mut now = NOW;
        for retried in [true, true, false] {
            let [work] = pending.take_due(now).try_into().unwrap();
            assert_eq!(pending.retry(work, now), retried);
            assert_eq!(pending.take_due(now + 59 * SECOND), []);
            now = now + 60 * SECOND;
        }
        assert_eq!(pending.take_due(now), []);

        pending.add(did(1), Hint::NotInUse, now);
        let [work] = pending.take_due(now).try_into().unwrap();
        pending.add(did(1), Hint::InUse, now);
        assert!(pending.retry(work, now));
        let later = now + 60 * SECOND;
        assert_eq!(hints(pending.take_due(later)), [(did(1), Hint::InUse)]);

        // A changed identity that was told meanwhile is not put off, and there is room for both.
        let now = later + 60 * SECOND;
        pending.add(did(1), Hint::NotInUse, now);
        let [work] = pending.take_due(now).try_into().unwrap();
        pending.add(did(1), Hint::Identity, now);
        for number in 2..=MAX_WAITING {
            assert!(pending.add(did(number), Hint::Identity, now + 300 * SECOND));
        }
        assert!(pending.retry(work, now));
        assert_eq!(pending.take_due(now + 29 * SECOND), []);
        let taken = hints(pending.take_due(now + PAUSE_PER_ACCOUNT));
        assert_eq!(taken, [(did(1), Hint::NotInUse)]);
    }
}
