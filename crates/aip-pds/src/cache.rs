//! A bounded cache of fetched answers: one fetch at a time per key, a soft age after which an
//! answer is fetched again, a hard age until which it is used when that fails, and short
//! memories for failures.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Timestamp};
use quick_cache::sync::{Cache, EntryAction, EntryResult};

/// Ages of cached answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ages {
    /// Older answers are fetched again.
    pub(crate) soft: Duration,
    /// Older answers are not used, not even when fetching fails.
    pub(crate) hard: Duration,
    /// How long a definite "no" is remembered.
    pub(crate) negative: Duration,
    /// How long nothing is fetched after a failure that may pass.
    pub(crate) pause: Duration,
}

/// An error that may pass by itself.
pub(crate) trait Transient {
    fn is_transient(&self) -> bool;
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Fetched,
    Cache { age: Duration },
}

pub(crate) struct AnswerCache<K, V, E> {
    entries: Cache<K, Entry<V, E>>,
    ages: Ages,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Entry<V, E> {
    outcome: Result<V, E>,
    fetched_at: Timestamp,
    /// Until then nothing is fetched.
    good_until: Timestamp,
}

impl<K, V, E> AnswerCache<K, V, E>
where
    K: Hash + Eq + Clone,
    V: Clone,
    E: Clone + Transient,
{
    pub(crate) fn new(capacity: usize, ages: Ages, clock: Arc<dyn Clock>) -> Self {
        Self {
            entries: Cache::new(capacity),
            ages,
            clock,
        }
    }

    /// The cached answer for `key`, or that of `fetch`, which callers who ask at the same time
    /// share.
    pub(crate) async fn get(
        &self,
        key: &K,
        fetch: impl Future<Output = Result<V, E>>,
    ) -> (Result<V, E>, Source) {
        let now = self.clock.now();
        let entry = self
            .entries
            .entry_async(key, |_, entry: &mut Entry<V, E>| {
                if now < entry.good_until {
                    EntryAction::Retain(entry.clone())
                } else {
                    EntryAction::ReplaceWithGuard
                }
            })
            .await;
        let (guard, old) = match entry {
            EntryResult::Retained(entry) => {
                let age = now.since(entry.fetched_at);
                return (entry.outcome, Source::Cache { age });
            }
            EntryResult::Replaced(guard, old) => (guard, Some(old)),
            EntryResult::Vacant(guard) => (guard, None),
            // Neither is asked for: no callback removes, and the async entry has no time-out.
            EntryResult::Removed(..) | EntryResult::Timeout => {
                return (fetch.await, Source::Fetched);
            }
        };
        let entry = self.judge(fetch.await, old);
        // Whoever removed the placeholder meanwhile wanted a newer answer: then it is not kept.
        let _ = guard.insert(entry.clone());
        let age = self.clock.now().since(entry.fetched_at);
        let source = if entry.fetched_at < now {
            Source::Cache { age }
        } else {
            Source::Fetched
        };
        (entry.outcome, source)
    }

    /// Stores an answer that was fetched outside of [`Self::get`].
    pub(crate) fn put(&self, key: K, value: V) {
        self.entries.insert(key, self.judge(Ok(value), None));
    }

    /// Forgets an answer, and returns it if it was one.
    pub(crate) fn remove(&self, key: &K) -> Option<V> {
        let (_, entry) = self.entries.remove(key)?;
        entry.outcome.ok()
    }

    fn judge(&self, outcome: Result<V, E>, old: Option<Entry<V, E>>) -> Entry<V, E> {
        let now = self.clock.now();
        let keep = match &outcome {
            Ok(_) => self.ages.soft,
            Err(error) if !error.is_transient() => self.ages.negative,
            Err(_) => {
                let usable = |old: &Entry<V, E>| {
                    old.outcome.is_ok() && now.since(old.fetched_at) < self.ages.hard
                };
                if let Some(old) = old.filter(usable) {
                    return Entry {
                        good_until: now + self.ages.pause,
                        ..old
                    };
                }
                self.ages.pause
            }
        };
        Entry {
            outcome,
            fetched_at: now,
            good_until: now + keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::testing::ManualClock;

    #[derive(Debug, Clone, PartialEq)]
    enum Failure {
        Passing,
        Definite,
    }

    impl Transient for Failure {
        fn is_transient(&self) -> bool {
            *self == Self::Passing
        }
    }

    const AGES: Ages = Ages {
        soft: Duration::from_hours(1),
        hard: Duration::from_hours(24),
        negative: Duration::from_mins(1),
        pause: Duration::from_secs(5),
    };

    fn cache() -> (AnswerCache<&'static str, u32, Failure>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (
            AnswerCache::new(10, AGES, Arc::clone(&clock) as Arc<dyn Clock>),
            clock,
        )
    }

    #[tokio::test]
    async fn an_answer_is_fetched_again_after_the_soft_age() {
        let (cache, clock) = cache();
        assert_eq!(
            cache.get(&"k", ready(Ok(1))).await,
            (Ok(1), Source::Fetched)
        );
        clock.advance(Duration::from_secs(3599));
        let age = Duration::from_secs(3599);
        assert_eq!(
            cache.get(&"k", ready(Ok(2))).await,
            (Ok(1), Source::Cache { age })
        );
        clock.advance(Duration::from_secs(1));
        assert_eq!(
            cache.get(&"k", ready(Ok(2))).await,
            (Ok(2), Source::Fetched)
        );
    }

    #[tokio::test]
    async fn an_old_answer_bridges_failures_until_the_hard_age() {
        let (cache, clock) = cache();
        cache.put("k", 1);
        clock.advance(Duration::from_secs(86_399));
        let (outcome, source) = cache.get(&"k", ready(Err(Failure::Passing))).await;
        assert_eq!(outcome, Ok(1));
        assert_eq!(
            source,
            Source::Cache {
                age: Duration::from_secs(86_399)
            }
        );
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            cache.get(&"k", ready(Err(Failure::Passing))).await.0,
            Err(Failure::Passing)
        );
    }

    #[tokio::test]
    async fn a_definite_no_replaces_an_old_answer_and_is_remembered_shortly() {
        let (cache, clock) = cache();
        cache.put("k", 1);
        clock.advance(Duration::from_hours(1));
        assert_eq!(
            cache.get(&"k", ready(Err(Failure::Definite))).await.0,
            Err(Failure::Definite)
        );
        assert_eq!(
            cache.get(&"k", ready(Ok(2))).await.0,
            Err(Failure::Definite)
        );
        clock.advance(Duration::from_mins(1));
        assert_eq!(cache.get(&"k", ready(Ok(2))).await.0, Ok(2));
    }

    #[tokio::test]
    async fn callers_at_the_same_time_share_one_fetch() {
        let (cache, _) = cache();
        let (answer, waiting) = tokio::sync::oneshot::channel();
        let first = cache.get(&"k", async { waiting.await.map_err(|_| Failure::Passing) });
        let second = cache.get(&"k", async { panic!("a second fetch") });
        let (first, second, sent) = tokio::join!(first, second, async { answer.send(7) });
        assert_eq!((first.0, second.0, sent), (Ok(7), Ok(7), Ok(())));
    }
}
