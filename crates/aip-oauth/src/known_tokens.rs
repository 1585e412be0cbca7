//! Access tokens of calls on PDSs that were read a moment ago, each with its sessions: an app that
//! calls often costs one statement a second, not one per call.
//!
//! For [`MAX_READ_AGE`](aip_storage::session_read::MAX_READ_AGE) a token is taken to be as it was
//! read, so whatever ends it works within that time, on every replica, and at once at the one that ended
//! it. Its expiry, and the proof of
//! the key that it may be bound to, are checked at every call. A token that is not found is read
//! anew each time: what is remembered never turns anybody away.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aip_atproto::ServiceRef;
use aip_base::{Clock, Periodic, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::grant::{AccessToken, Grant};
use aip_storage::session_read::{SessionRead, TokenForCall, is_recent};
use quick_cache::Weighter;
use quick_cache::sync::{Cache, EntryAction, EntryResult};

/// About as many tokens fit in [`MAX_BYTES`].
const TOKENS: usize = 4096;
/// How many bytes the tokens may take. More than these are not called twice within a second.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// How often what is not recent any more is thrown out. The sealed secrets in it are of no use
/// without the master key.
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(10);

/// The tokens, shared by clones.
#[derive(Clone)]
pub struct KnownTokens(Arc<Known>);

struct Known {
    tokens: Cache<[u8; 32], Arc<KnownToken>, ByBytes>,
    clean_up: Periodic,
}

/// A token with the sessions that its calls may be made with.
#[derive(Debug)]
pub(crate) struct KnownToken {
    pub(crate) token: AccessToken,
    pub(crate) session: Option<SessionRead>,
    pub(crate) app_password: Option<SessionRead>,
    pub(crate) default_atproto_proxy: Option<ServiceRef>,
    read_at: Timestamp,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<[u8; 32], Arc<KnownToken>> for ByBytes {
    fn weight(&self, _: &[u8; 32], known: &Arc<KnownToken>) -> u64 {
        let sessions = [&known.session, &known.app_password];
        let sessions = sessions.into_iter().flatten();
        let sessions: usize = sessions.map(|it| it.session.memory_bytes()).sum();
        // Once as a whole, and once its DID.
        let proxy = known.default_atproto_proxy.as_ref();
        let proxy = proxy.map_or(0, |it| 2 * it.as_str().len());
        (known.token.memory_bytes() + sessions + proxy) as u64
    }
}

impl Default for KnownTokens {
    fn default() -> Self {
        Self(Arc::new(Known {
            tokens: Cache::with_weighter(TOKENS, MAX_BYTES, ByBytes),
            clean_up: Periodic::new(CLEAN_UP_INTERVAL),
        }))
    }
}

impl fmt::Debug for KnownTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.tokens.len();
        f.debug_tuple("KnownTokens").field(&count).finish()
    }
}

impl KnownToken {
    fn new(found: TokenForCall, read_at: Timestamp) -> Self {
        let read = |session| SessionRead {
            session: Arc::new(session),
            read_at,
        };
        Self {
            token: found.token,
            session: found.session.map(read),
            app_password: found.app_password.map(read),
            default_atproto_proxy: found.default_atproto_proxy,
            read_at,
        }
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        is_recent(self.read_at, now) && now < self.token.expires_at
    }
}

impl KnownTokens {
    /// Forgets a token that was revoked.
    pub(crate) fn forget(&self, hash: &TokenHash) {
        self.0.tokens.remove(hash.as_bytes());
    }

    /// Forgets the tokens of grants that were ended.
    pub fn forget_grants(&self, ended: impl Fn(&Grant) -> bool) {
        self.0.tokens.retain(|_, known| !ended(&known.token.grant));
    }

    /// The token of that hash: as it was read a moment ago, or as it is read now with `read`, once
    /// for all who ask at the same time. `None` if there is no such live token.
    pub(crate) async fn get<F>(
        &self,
        hash: &TokenHash,
        clock: &dyn Clock,
        read: impl FnOnce(Timestamp) -> F,
    ) -> Result<Option<Arc<KnownToken>>, StorageError>
    where
        F: Future<Output = Result<Option<TokenForCall>, StorageError>>,
    {
        let Known { tokens, clean_up } = &*self.0;
        let hash = hash.as_bytes();
        let now = clock.now();
        if let Some(known) = tokens.get(hash).filter(|it| it.is_usable(now)) {
            return Ok(Some(known));
        }
        // Waits for whoever reads it already; whoever gives up reading leaves it to the next.
        let if_usable = |_: &[u8; 32], known: &mut Arc<KnownToken>| {
            if known.is_usable(clock.now()) {
                EntryAction::Retain(Arc::clone(known))
            } else {
                EntryAction::ReplaceWithGuard
            }
        };
        let reader = match tokens.entry_async(hash, if_usable).await {
            EntryResult::Retained(known) => return Ok(Some(known)),
            EntryResult::Replaced(reader, _) | EntryResult::Vacant(reader) => Some(reader),
            // Neither is asked for.
            EntryResult::Removed(..) | EntryResult::Timeout => None,
        };
        let read_at = clock.now();
        let Some(found) = read(read_at).await? else {
            return Ok(None);
        };
        let known = Arc::new(KnownToken::new(found, read_at));
        if let Some(reader) = reader {
            // An error says that it was thrown out meanwhile.
            drop(reader.insert(Arc::clone(&known)));
        }
        if clean_up.is_due(read_at) {
            tokens.retain(|_, known| is_recent(known.read_at, read_at));
        }
        Ok(Some(known))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use aip_atproto::Did;
    use aip_base::{RowId, SystemRng};
    use aip_storage::grant::Grant;

    use super::*;

    const HASH: [u8; 32] = [7; 32];
    const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// A clock that is moved by hand, in milliseconds from [`BEGIN`].
    #[derive(Default)]
    struct ManualClock(AtomicI64);

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(BEGIN.as_micros() + self.0.load(Ordering::Relaxed) * 1000)
        }
    }

    /// A storage that counts how often it was asked.
    #[derive(Default)]
    struct Rows {
        known: KnownTokens,
        clock: ManualClock,
        reads: AtomicUsize,
    }

    impl Rows {
        /// Asks for the token, which expires 10 s after [`BEGIN`], or is not there.
        async fn get(&self, is_there: bool) -> bool {
            let read = |_| async {
                self.reads.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(is_there.then(|| token(&self.clock)))
            };
            let hash = TokenHash::from_bytes(HASH);
            let found = self.known.get(&hash, &self.clock, read).await;
            found.expect("it can be read").is_some()
        }

        fn set(&self, millis: i64) {
            self.clock.0.store(millis, Ordering::Relaxed);
        }

        fn reads(&self) -> usize {
            self.reads.load(Ordering::Relaxed)
        }
    }

    fn token(clock: &dyn Clock) -> TokenForCall {
        let did = Did::parse("did:web:alice.example").expect("a DID");
        let id = RowId::new(clock, &SystemRng);
        let scope: aip_atproto::ScopeSet = "atproto".parse().expect("a scope");
        let grant = Grant {
            id,
            client_id: "app".parse().expect("a client id"),
            subject: did.clone(),
            sector: None,
            actor: did,
            scope: scope.clone(),
            asked: scope.clone(),
            upstream_session: id,
            dpop_jkt: None,
            auth_time: None,
            claims: aip_storage::requested_claims::RequestedClaims::default(),
            resources: aip_storage::resource_uri::ResourceList::default(),
            created_at: BEGIN,
            revoked: None,
        };
        TokenForCall {
            token: AccessToken {
                grant,
                scope,
                audience: aip_storage::resource_uri::ResourceList::default(),
                dpop_jkt: None,
                issued_at: BEGIN,
                expires_at: BEGIN + Duration::from_secs(10),
            },
            session: None,
            app_password: None,
            default_atproto_proxy: None,
        }
    }

    #[tokio::test]
    async fn a_token_is_read_once_a_second() {
        let rows = Rows::default();
        for (millis, reads) in [(0, 1), (0, 1), (999, 1), (1000, 2), (1999, 2), (2000, 3)] {
            rows.set(millis);
            assert!(rows.get(true).await);
            assert_eq!(rows.reads(), reads, "after {millis} ms");
        }
        // The clock was set back: nobody knows how old it is.
        rows.set(500);
        assert!(rows.get(true).await);
        assert_eq!(rows.reads(), 4);
    }

    #[tokio::test]
    async fn all_who_ask_at_once_share_one_read() {
        let rows = Rows::default();
        for reads in 1..=2 {
            let (a, b, c) = tokio::join!(rows.get(true), rows.get(true), rows.get(true));
            assert!(a && b && c);
            assert_eq!(rows.reads(), reads);
            rows.set(1000);
        }
    }

    #[tokio::test]
    async fn whoever_gives_up_reading_leaves_it_to_the_next() {
        let rows = Rows::default();
        {
            let mut given_up = std::pin::pin!(rows.get(true));
            let polled = futures_poll(given_up.as_mut()).await;
            assert!(!polled, "it waits for the storage");
        }
        assert!(rows.get(true).await);
        assert_eq!(rows.reads(), 2);
    }

    #[tokio::test]
    async fn a_token_that_is_not_there_is_asked_for_again() {
        let rows = Rows::default();
        assert!(!rows.get(false).await);
        assert!(!rows.get(false).await);
        assert!(rows.get(true).await);
        assert_eq!(rows.reads(), 3);
    }

    #[tokio::test]
    async fn a_token_is_not_used_after_its_end_however_recently_it_was_read() {
        let rows = Rows::default();
        rows.set(9_500);
        assert!(rows.get(true).await);
        rows.set(9_999);
        assert!(rows.get(false).await, "as it was read");
        rows.set(10_000);
        assert!(!rows.get(false).await);
    }

    /// Whether one poll is enough.
    async fn futures_poll(future: std::pin::Pin<&mut impl Future<Output = bool>>) -> bool {
        let mut future = future;
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }
}
