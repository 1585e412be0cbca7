//! Nonces in tiers: this process first, the others when that is old, and not too often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::Clock;
use aip_pds::{MemoryNonces, NonceKey, NonceStore as _};
use aip_shared_state::TieredNonces;
use aip_storage::StorageError;
use aip_storage::nonces::{ReceivedNonce, ServerRole, SharedNonces};
use aip_testkit::clock::ManualClock;
use aip_testkit::valkey::ValkeyServer;
use async_trait::async_trait;

use crate::support::connected;

/// Counts what is asked and told.
struct Counted {
    shared: Arc<dyn SharedNonces>,
    asked: AtomicUsize,
    told: AtomicUsize,
}

#[async_trait]
impl SharedNonces for Counted {
    async fn newest_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
    ) -> Result<Option<ReceivedNonce>, StorageError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.shared.newest_nonce(role, origin).await
    }

    async fn offer_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
        given: &ReceivedNonce,
    ) -> Result<(), StorageError> {
        self.told.fetch_add(1, Ordering::SeqCst);
        self.shared.offer_nonce(role, origin, given).await
    }
}

/// Two replicas and what they share.
struct Pair {
    server: ValkeyServer,
    clock: Arc<ManualClock>,
    shared: Arc<Counted>,
    one: TieredNonces,
    two: TieredNonces,
    origin: Origin,
}

impl Pair {
    async fn new() -> Self {
        let server = ValkeyServer::start().await;
        let clock = Arc::new(ManualClock::new());
        let shared = Arc::new(Counted {
            shared: connected(&server.url()).await,
            asked: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
        });
        let replica = || {
            let clock = Arc::clone(&clock) as Arc<dyn Clock>;
            let own = MemoryNonces::new(10, Arc::clone(&clock));
            TieredNonces::new(own, Arc::clone(&shared) as _, clock)
        };
        Self {
            one: replica(),
            two: replica(),
            server,
            clock,
            shared,
            origin: Origin::parse("https://pds.example").unwrap(),
        }
    }

    /// Of a session for each name of one letter.
    fn of(&self, session: &str) -> NonceKey<'_> {
        let letter = session.as_bytes()[0];
        let id = format!("0192f3a4-7b1c-7def-8abc-0123456789{letter:02x}");
        NonceKey {
            session: id.parse().unwrap(),
            role: ServerRole::Authorization,
            origin: &self.origin,
        }
    }

    /// How often the others were asked, and told.
    fn counts(&self) -> (usize, usize) {
        let count = |it: &AtomicUsize| it.load(Ordering::SeqCst);
        (count(&self.shared.asked), count(&self.shared.told))
    }
}

#[tokio::test]
async fn a_replica_begins_with_the_nonce_that_another_was_given() {
    let pair = Pair::new().await;
    pair.one.put(pair.of("a"), "given").await;
    let got = pair.two.get(pair.of("b")).await;
    assert_eq!(got.as_deref(), Some("given"));
    // It is remembered for all sessions.
    let got = pair.two.get(pair.of("c")).await;
    assert_eq!(got.as_deref(), Some("given"));
    assert_eq!(pair.counts(), (1, 1));
}

#[tokio::test]
async fn what_this_process_was_given_comes_first_while_it_is_fresh() {
    let pair = Pair::new().await;
    pair.two.put(pair.of("b"), "mine").await;
    pair.clock.advance(Duration::from_secs(30));
    pair.one.put(pair.of("a"), "newer").await;
    assert_eq!(pair.two.get(pair.of("b")).await.as_deref(), Some("mine"));
    assert_eq!(pair.counts(), (0, 2));
    pair.clock.advance(Duration::from_secs(30));
    assert_eq!(pair.two.get(pair.of("b")).await.as_deref(), Some("newer"));
    assert_eq!(pair.counts(), (1, 2));
}

#[tokio::test]
async fn an_older_nonce_of_another_replica_is_not_taken() {
    let pair = Pair::new().await;
    pair.one.put(pair.of("a"), "older").await;
    pair.clock.advance(Duration::from_millis(10));
    pair.two.put(pair.of("b"), "mine").await;
    pair.server.wipe().await;
    pair.clock.advance(Duration::from_mins(2));
    // Wiped: nothing there is newer.
    assert_eq!(pair.two.get(pair.of("b")).await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_nonce_that_cannot_be_good_any_more_is_not_taken() {
    let pair = Pair::new().await;
    pair.one.put(pair.of("a"), "given").await;
    pair.clock.advance(Duration::from_mins(5));
    assert_eq!(pair.two.get(pair.of("b")).await, None);
}

#[tokio::test]
async fn an_answer_that_comes_late_does_not_replace_what_was_given_meanwhile() {
    let pair = Pair::new().await;
    pair.one.put(pair.of("a"), "old").await;
    pair.clock.advance(Duration::from_secs(2));
    let key = pair.of("b");
    let asking = pair.two.get(key);
    let meanwhile = async {
        // After the question and before its answer.
        while pair.counts().0 == 0 {
            tokio::task::yield_now().await;
        }
        pair.two.put(key, "new").await;
    };
    tokio::join!(asking, meanwhile);
    assert_eq!(pair.two.get(key).await.as_deref(), Some("new"));
}

#[tokio::test]
async fn a_nonce_is_shared_when_it_changes_and_once_a_second_at_most() {
    let pair = Pair::new().await;
    for _ in 0..10 {
        pair.one.put(pair.of("a"), "first").await;
        pair.clock.advance(Duration::from_secs(5));
    }
    assert_eq!(pair.counts(), (0, 1));
    for fresh in 0..20 {
        pair.one.put(pair.of("a"), &format!("fresh {fresh}")).await;
        pair.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(pair.counts(), (0, 3));
}

#[tokio::test]
async fn a_server_without_nonces_is_asked_about_once_a_second_at_most() {
    let pair = Pair::new().await;
    for _ in 0..20 {
        assert_eq!(pair.two.get(pair.of("b")).await, None);
        pair.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(pair.counts(), (2, 0));
}

#[tokio::test]
async fn without_the_others_the_own_nonces_remain() {
    let mut pair = Pair::new().await;
    pair.two.put(pair.of("b"), "mine").await;
    pair.server.kill().await;
    pair.clock.advance(Duration::from_mins(5));
    assert_eq!(pair.two.get(pair.of("b")).await.as_deref(), Some("mine"));
    pair.two.put(pair.of("b"), "next").await;
    assert_eq!(pair.two.get(pair.of("b")).await.as_deref(), Some("next"));
}
