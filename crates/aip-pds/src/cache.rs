//! A bounded cache of fetched answers: one fetch at a time per key, a soft age after which an
//! answer is fetched again, a hard age until which it is used when that fails, and short
//! memories for failures. It is bounded by bytes: what is cached, strangers have written.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Timestamp};
use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction, EntryResult, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// Ages of cached answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CachePolicy {
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

/// Something whose size is known.
pub(crate) trait ByteSize {
    /// About how many bytes it takes.
    fn bytes(&self) -> usize;
}

/// How much a cache holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// About how many entries are expected.
    pub(crate) entries: usize,
    /// How many bytes they may take in all.
    pub(crate) bytes: usize,
}

/// What the cache itself takes for an entry.
const ENTRY_OVERHEAD_BYTES: usize = 200;
/// Few, so that the largest entry fits into the share of one.
const SHARDS: usize = 8;

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Fetched,
    Cache { age: Duration },
}

impl Source {
    /// How long ago it was read there.
    pub(crate) fn age(self) -> Duration {
        match self {
            Self::Fetched => Duration::ZERO,
            Self::Cache { age } => age,
        }
    }
}

pub(crate) struct AnswerCache<K, V, E> {
    entries: Cache<K, Entry<V, E>, ByBytes>,
    policy: CachePolicy,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Entry<V, E> {
    outcome: Result<V, E>,
    fetched_at: Timestamp,
    /// Until then nothing is fetched.
    good_until: Timestamp,
    bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl<V, E> Entry<V, E> {
    /// Whether it answers at `now` whoever wants nothing that is `max_age` old.
    fn is_good(&self, max_age: Duration, now: Timestamp) -> bool {
        let young = self.outcome.is_err() || now.since(self.fetched_at) < max_age;
        young && now < self.good_until
    }
}

impl<K, V, E> Weighter<K, Entry<V, E>> for ByBytes {
    fn weight(&self, _: &K, entry: &Entry<V, E>) -> u64 {
        entry.bytes
    }
}

impl<K, V, E> AnswerCache<K, V, E>
where
    K: Hash + Eq + Clone + ByteSize,
    V: Clone + ByteSize,
    E: Clone + Transient + ByteSize,
{
    pub(crate) fn new(capacity: Capacity, policy: CachePolicy, clock: Arc<dyn Clock>) -> Self {
        let bytes = u64::try_from(capacity.bytes).unwrap_or(u64::MAX);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(capacity.entries)
            .weight_capacity(bytes)
            .shards(SHARDS)
            .build();
        let entries = match options {
            Ok(options) => Cache::with_options(
                options,
                ByBytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(capacity.entries, bytes, ByBytes),
        };
        Self {
            entries,
            policy,
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
        self.get_within(key, self.policy.hard, fetch).await
    }

    /// The same, and never an answer that is older than `max_age`.
    pub(crate) async fn get_within(
        &self,
        key: &K,
        max_age: Duration,
        fetch: impl Future<Output = Result<V, E>>,
    ) -> (Result<V, E>, Source) {
        let now = self.clock.now();
        let entry = self
            .entries
            .entry_async(key, |_, entry: &mut Entry<V, E>| {
                if entry.is_good(max_age, now) {
                    EntryAction::Retain(entry.clone())
                } else {
                    EntryAction::ReplaceWithGuard
                }
            })
            .await;
        let (placeholder, old) = match entry {
            EntryResult::Retained(entry) => {
                let age = now.since(entry.fetched_at);
                return (entry.outcome, Source::Cache { age });
            }
            EntryResult::Replaced(placeholder, old) => (placeholder, Some(old)),
            EntryResult::Vacant(placeholder) => (placeholder, None),
            // Neither is asked for: no callback removes, and the async entry has no time-out.
            EntryResult::Removed(..) | EntryResult::Timeout => {
                return (fetch.await, Source::Fetched);
            }
        };
        let mut fetching = Fetching {
            cache: self,
            placeholder: Some(placeholder),
            old,
        };
        let fetched = fetch.await;
        let error = fetched.as_ref().err().cloned();
        let entry = self.new_entry(key, fetched, fetching.old.take());
        fetching.fill(entry.clone());
        let age = self.clock.now().since(entry.fetched_at);
        if let Some(error) = error.filter(|_| age >= max_age) {
            return (Err(error), Source::Fetched);
        }
        let source = if entry.fetched_at < now {
            Source::Cache { age }
        } else {
            Source::Fetched
        };
        (entry.outcome, source)
    }

    /// The answer that [`Self::get`] would give now without fetching anything.
    pub(crate) fn peek(&self, key: &K) -> Option<Result<V, E>> {
        let entry = self.entries.peek(key)?;
        let good = entry.is_good(self.policy.hard, self.clock.now());
        good.then_some(entry.outcome)
    }

    /// The answer that is kept, however old up to the hard age. Nothing is fetched or waited for.
    pub(crate) fn peek_kept(&self, key: &K) -> Option<V> {
        let entry = self.entries.peek(key)?;
        let age = self.clock.now().since(entry.fetched_at);
        entry.outcome.ok().filter(|_| age < self.policy.hard)
    }

    /// The answer that is kept, however old up to the hard age. Nothing is fetched for it; if somebody
    /// fetches it just now, that is waited for.
    pub(crate) async fn get_cached(&self, key: &K) -> Option<V> {
        let read = |_: &K, entry: &mut Entry<V, E>| EntryAction::Retain(entry.clone());
        match self.entries.entry_async(key, read).await {
            EntryResult::Retained(entry) => {
                let age = self.clock.now().since(entry.fetched_at);
                entry.outcome.ok().filter(|_| age < self.policy.hard)
            }
            // A placeholder that is dropped leaves its place free.
            _ => None,
        }
    }

    /// Stores an answer that was fetched outside of [`Self::get`].
    pub(crate) fn put(&self, key: K, value: V) {
        let entry = self.new_entry(&key, Ok(value), None);
        self.entries.insert(key, entry);
    }

    /// Lets an answer be fetched again by the next one who asks, and returns it. If that fails, it is
    /// used as an old one is. A failure that is remembered is forgotten.
    pub(crate) fn expire(&self, key: &K) -> Option<V> {
        let entry = self.entries.peek(key)?;
        let Ok(value) = entry.outcome.clone() else {
            self.entries.remove(key);
            return None;
        };
        let now = self.clock.now();
        // Whoever fetches it just now has the place of the entry, and asked before this was known.
        let good_until = entry.good_until.min(now);
        self.entries.insert(
            key.clone(),
            Entry {
                good_until,
                ..entry
            },
        );
        Some(value)
    }

    /// Forgets an answer, and returns it if it was one.
    pub(crate) fn remove(&self, key: &K) -> Option<V> {
        let (_, entry) = self.entries.remove(key)?;
        entry.outcome.ok()
    }

    /// About how many bytes are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// The old answer, for as long as nothing is fetched after a failure that may pass.
    fn stale_entry(&self, old: Option<Entry<V, E>>) -> Option<Entry<V, E>> {
        let now = self.clock.now();
        let old =
            old.filter(|old| old.outcome.is_ok() && now.since(old.fetched_at) < self.policy.hard)?;
        Some(Entry {
            good_until: now + self.policy.pause,
            ..old
        })
    }

    fn new_entry(&self, key: &K, outcome: Result<V, E>, old: Option<Entry<V, E>>) -> Entry<V, E> {
        let now = self.clock.now();
        let keep = match &outcome {
            Ok(_) => self.policy.soft,
            Err(error) if !error.is_transient() => self.policy.negative,
            Err(_) => {
                if let Some(old) = self.stale_entry(old) {
                    return old;
                }
                self.policy.pause
            }
        };
        let content = match &outcome {
            Ok(value) => value.bytes(),
            Err(error) => error.bytes(),
        };
        let bytes = ENTRY_OVERHEAD_BYTES + size_of::<(K, Entry<V, E>)>() + key.bytes() + content;
        Entry {
            outcome,
            fetched_at: now,
            good_until: now + keep,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        }
    }
}

/// The place of an answer that is being fetched.
type Placeholder<'a, K, V, E> = PlaceholderGuard<
    'a,
    K,
    Entry<V, E>,
    ByBytes,
    DefaultHashBuilder,
    DefaultLifecycle<K, Entry<V, E>>,
>;

/// A fetch under way. Whoever gives up waiting for it drops it: then the old answer is put back, as a
/// fetch that takes too long has failed like any other.
struct Fetching<'a, K, V, E>
where
    K: Hash + Eq + Clone + ByteSize,
    V: Clone + ByteSize,
    E: Clone + Transient + ByteSize,
{
    cache: &'a AnswerCache<K, V, E>,
    /// `None` once it is filled.
    placeholder: Option<Placeholder<'a, K, V, E>>,
    /// The answer that was there before.
    old: Option<Entry<V, E>>,
}

impl<K, V, E> Drop for Fetching<'_, K, V, E>
where
    K: Hash + Eq + Clone + ByteSize,
    V: Clone + ByteSize,
    E: Clone + Transient + ByteSize,
{
    fn drop(&mut self) {
        if let Some(old) = self.cache.stale_entry(self.old.take()) {
            self.fill(old);
        }
    }
}

impl<K, V, E> Fetching<'_, K, V, E>
where
    K: Hash + Eq + Clone + ByteSize,
    V: Clone + ByteSize,
    E: Clone + Transient + ByteSize,
{
    fn fill(&mut self, entry: Entry<V, E>) {
        if let Some(placeholder) = self.placeholder.take() {
            // Whoever removed the placeholder meanwhile wanted a newer answer: then it is not kept.
            let _ = placeholder.insert(entry);
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

    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Key(usize);

    impl ByteSize for Key {
        fn bytes(&self) -> usize {
            0
        }
    }

    /// A value of so many bytes.
    #[derive(Clone)]
    struct Bulk(usize);

    impl ByteSize for Bulk {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    impl ByteSize for Failure {
        fn bytes(&self) -> usize {
            0
        }
    }

    impl ByteSize for u32 {
        fn bytes(&self) -> usize {
            0
        }
    }

    impl ByteSize for &'static str {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    const CAPACITY: Capacity = Capacity {
        entries: 10,
        bytes: 64 * 1024,
    };

    impl Transient for Failure {
        fn is_transient(&self) -> bool {
            *self == Self::Passing
        }
    }

    const CACHE_POLICY: CachePolicy = CachePolicy {
        soft: Duration::from_hours(1),
        hard: Duration::from_hours(24),
        negative: Duration::from_mins(1),
        pause: Duration::from_secs(5),
    };

    fn cache() -> (AnswerCache<&'static str, u32, Failure>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (
            AnswerCache::new(CAPACITY, CACHE_POLICY, Arc::clone(&clock) as Arc<dyn Clock>),
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
    async fn an_old_answer_outlives_fetches_that_nobody_waits_for() {
        let (cache, clock) = cache();
        cache.put("k", 1);
        for _ in 0..3 {
            clock.advance(Duration::from_hours(1));
            let hangs = std::future::pending::<Result<u32, Failure>>();
            let given_up = tokio::time::timeout(Duration::ZERO, cache.get(&"k", hangs)).await;
            assert!(given_up.is_err());
            assert_eq!(cache.peek(&"k"), Some(Ok(1)), "it bridges the pause");
            clock.advance(Duration::from_secs(5));
            let (outcome, _) = cache.get(&"k", ready(Err(Failure::Passing))).await;
            assert_eq!(outcome, Ok(1));
        }
        // Not beyond its hard age, and nothing is put in the place of nothing.
        clock.advance(Duration::from_hours(24));
        for key in ["k", "new"] {
            let hangs = std::future::pending::<Result<u32, Failure>>();
            let given_up = tokio::time::timeout(Duration::ZERO, cache.get(&key, hangs)).await;
            assert!(given_up.is_err());
            assert_eq!(cache.get(&key, ready(Ok(2))).await.0, Ok(2));
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_served_until_its_hard_age_and_nothing_is_fetched_for_it() {
        let (cache, clock) = cache();
        assert_eq!(cache.get_cached(&"k").await, None);
        cache.put("k", 1);
        for hours in [0, 1, 22] {
            clock.advance(Duration::from_hours(hours));
            assert_eq!(cache.get_cached(&"k").await, Some(1), "{hours}");
        }
        assert_eq!(cache.peek(&"k"), None, "it is old all the same");
        // It does not count as a try: the next one who may fetch does.
        let (outcome, source) = cache.get(&"k", ready(Ok(2))).await;
        assert_eq!((outcome, source), (Ok(2), Source::Fetched));
        clock.advance(Duration::from_hours(24));
        assert_eq!(cache.get_cached(&"k").await, None);
        let no = cache.get(&"no", ready(Err(Failure::Definite))).await.0;
        assert_eq!(
            (no, cache.get_cached(&"no").await),
            (Err(Failure::Definite), None)
        );
        // What others fetch just now is waited for, and nobody waits for who only looked.
        let (answer, waiting) = tokio::sync::oneshot::channel();
        let fetching = cache.get(&"new", async {
            waiting.await.map_err(|_| Failure::Passing)
        });
        let looking = async { tokio::join!(cache.get_cached(&"new"), async { answer.send(7) }) };
        let (fetched, (kept, _)) = tokio::join!(fetching, looking);
        assert_eq!((fetched.0, kept), (Ok(7), Some(7)));
        assert_eq!(cache.get_cached(&"other").await, None);
        assert_eq!(cache.get(&"other", ready(Ok(3))).await.0, Ok(3));
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
    async fn an_expired_answer_is_fetched_again_and_bridges_a_failure() {
        let (cache, clock) = cache();
        assert_eq!(cache.expire(&"k"), None);
        cache.put("k", 1);
        assert_eq!(cache.expire(&"k"), Some(1));
        assert_eq!(cache.peek(&"k"), None);
        assert_eq!(cache.get(&"k", ready(Err(Failure::Passing))).await.0, Ok(1));
        clock.advance(Duration::from_secs(5));
        let fetched = cache.get(&"k", ready(Ok(2))).await;
        assert_eq!(fetched, (Ok(2), Source::Fetched));
        // Of a failure nothing is used.
        let no = cache.get(&"no", ready(Err(Failure::Definite))).await.0;
        assert_eq!((no, cache.expire(&"no")), (Err(Failure::Definite), None));
        assert_eq!(cache.get(&"no", ready(Ok(3))).await.0, Ok(3));
    }

    #[tokio::test]
    async fn who_asks_for_a_young_answer_gets_no_older_one_and_rather_an_error() {
        let (cache, clock) = cache();
        let minutes = Duration::from_mins;
        cache.put("k", 1);
        clock.advance(minutes(9));
        let (outcome, _) = cache.get_within(&"k", minutes(10), ready(Ok(2))).await;
        assert_eq!(outcome, Ok(1));
        clock.advance(minutes(1));
        let failing = || ready(Err(Failure::Passing));
        let (outcome, _) = cache.get_within(&"k", minutes(10), failing()).await;
        assert_eq!(outcome, Err(Failure::Passing));
        assert_eq!(
            cache.get(&"k", failing()).await.0,
            Ok(1),
            "others are served"
        );
        let (outcome, source) = cache.get_within(&"k", minutes(10), ready(Ok(3))).await;
        assert_eq!((outcome, source), (Ok(3), Source::Fetched));
    }

    #[tokio::test]
    async fn the_bytes_of_all_entries_are_bounded_and_the_newest_stay() {
        const BYTES: usize = 8 * 1024 * 1024;
        let capacity = Capacity {
            entries: 4096,
            bytes: BYTES,
        };
        let clock = Arc::new(ManualClock::default());
        let cache: AnswerCache<Key, Bulk, Failure> =
            AnswerCache::new(capacity, CACHE_POLICY, clock);
        for key in 0..4096 {
            cache.put(Key(key), Bulk(64 * 1024));
            assert!(cache.bytes() <= BYTES as u64);
        }
        assert!(cache.bytes() > BYTES as u64 / 2, "{}", cache.bytes());
    }

    #[tokio::test]
    async fn what_is_remembered_is_what_would_be_answered_without_a_fetch() {
        let (cache, clock) = cache();
        assert_eq!(cache.peek(&"k"), None);
        cache.put("k", 1);
        clock.advance(Duration::from_secs(3599));
        assert_eq!(cache.peek(&"k"), Some(Ok(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(cache.peek(&"k"), None, "it would be fetched again");
        // The old answer bridges the outage, and is remembered for the time of the pause.
        assert_eq!(cache.get(&"k", ready(Err(Failure::Passing))).await.0, Ok(1));
        assert_eq!(cache.peek(&"k"), Some(Ok(1)));
        clock.advance(Duration::from_secs(5));
        assert_eq!(cache.peek(&"k"), None);
        let no = cache.get(&"no", ready(Err(Failure::Definite))).await.0;
        assert_eq!(cache.peek(&"no"), Some(no));
        clock.advance(Duration::from_mins(1));
        assert_eq!(cache.peek(&"no"), None);
        // What is being fetched is not remembered yet.
        let look = async { Ok(u32::from(cache.peek(&"new").is_some())) };
        assert_eq!(cache.get(&"new", look).await.0, Ok(0));
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
