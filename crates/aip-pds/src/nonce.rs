//! `DPoP` nonces (RFC 9449 §8): the last one of each server, for each session, authorization and
//! resource server apart even where they share an origin.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Clock, RowId, Timestamp};
use aip_storage::nonces::{ReceivedNonce, ServerRole};
use async_trait::async_trait;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Whose nonce it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NonceKey<'a> {
    /// The session (or sign-in) that talks to the server.
    pub session: RowId,
    /// The role of the server.
    pub role: ServerRole,
    /// The server.
    pub origin: &'a Origin,
}

/// Remembers nonces. What is lost costs one more round trip and nothing else.
#[async_trait]
pub trait NonceStore: Send + Sync + 'static {
    /// The nonce that is most likely still good.
    async fn get(&self, key: NonceKey<'_>) -> Option<String>;
    /// Remembers the newest nonce.
    async fn put(&self, key: NonceKey<'_>, nonce: &str);
}

/// Nonces in this process, bounded.
///
/// A session's own nonce is used while it is young. After that, the newest one that the server
/// gave to anybody here has the better chance: servers rotate nonces every few minutes, sessions
/// are refreshed less often.
pub struct MemoryNonces {
    own: Cache<(RowId, ServerRole, Origin), StoredNonce, ByBytes>,
    newest: Cache<(ServerRole, Origin), StoredNonce>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct StoredNonce {
    nonce: String,
    at: Timestamp,
}

/// What is kept for a session, in bytes: its id, the name of the server, a nonce of usual length, and what
/// the cache takes for itself.
const ENTRY_BYTES: u64 = 384;

#[derive(Clone)]
struct ByBytes;

impl Weighter<(RowId, ServerRole, Origin), StoredNonce> for ByBytes {
    fn weight(&self, (_, _, origin): &(RowId, ServerRole, Origin), given: &StoredNonce) -> u64 {
        let text = origin.as_str().len() + given.nonce.len();
        200 + size_of::<RowId>() as u64 + text as u64
    }
}

/// Longer nonces are not remembered, as each is kept per session.
const MAX_NONCE: usize = 512;

/// How long a session's own nonce is preferred.
const OWN_NONCE_PREFERRED_FOR: Duration = Duration::from_mins(1);

impl MemoryNonces {
    /// An empty store for up to `sessions` sessions.
    pub fn new(sessions: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            own: Cache::with_weighter(
                sessions,
                (sessions as u64).saturating_mul(ENTRY_BYTES),
                ByBytes,
            ),
            newest: Cache::new(4096),
            clock,
        }
    }

    /// When the newest nonce of a server was given.
    pub fn newest_at(&self, role: ServerRole, origin: &Origin) -> Option<Timestamp> {
        let newest = self.newest.get(&(role, origin.clone()));
        newest.map(|given| given.at)
    }

    /// Takes over a nonce that a server gave to another process. A session's own young nonce still
    /// comes first.
    pub fn learn(&self, role: ServerRole, origin: &Origin, given: ReceivedNonce) {
        let ReceivedNonce { nonce, at } = given;
        let newer = self
            .newest_at(role, origin)
            .is_none_or(|newest| newest < at);
        if newer && nonce.len() <= MAX_NONCE {
            let given = StoredNonce { nonce, at };
            self.newest.insert((role, origin.clone()), given);
        }
    }
}

#[async_trait]
impl NonceStore for MemoryNonces {
    async fn get(&self, key: NonceKey<'_>) -> Option<String> {
        let NonceKey {
            session,
            role,
            origin,
        } = key;
        let own = self.own.get(&(session, role, origin.clone()));
        let now = self.clock.now();
        if let Some(own) = own
            .as_ref()
            .filter(|own| now.since(own.at) < OWN_NONCE_PREFERRED_FOR)
        {
            return Some(own.nonce.clone());
        }
        let newest = self.newest.get(&(role, origin.clone()));
        newest.or(own).map(|given| given.nonce)
    }

    async fn put(&self, key: NonceKey<'_>, nonce: &str) {
        if nonce.len() > MAX_NONCE {
            return;
        }
        let NonceKey {
            session,
            role,
            origin,
        } = key;
        let given = StoredNonce {
            nonce: nonce.to_owned(),
            at: self.clock.now(),
        };
        self.own
            .insert((session, role, origin.clone()), given.clone());
        self.newest.insert((role, origin.clone()), given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    #[tokio::test]
    async fn a_nonce_stays_with_its_role_and_origin() {
        let nonces = MemoryNonces::new(10, Arc::new(ManualClock::default()));
        let (one, two) = (origin("https://one.org"), origin("https://two.org"));
        let key = |role, origin| NonceKey {
            session: session("s"),
            role,
            origin,
        };
        nonces
            .put(key(ServerRole::Authorization, &one), "as-one")
            .await;
        nonces.put(key(ServerRole::Resource, &one), "rs-one").await;
        let got = nonces.get(key(ServerRole::Authorization, &one)).await;
        assert_eq!(got.as_deref(), Some("as-one"));
        assert_eq!(
            nonces.get(key(ServerRole::Resource, &one)).await.as_deref(),
            Some("rs-one")
        );
        assert_eq!(nonces.get(key(ServerRole::Authorization, &two)).await, None);
    }

    #[tokio::test]
    async fn a_young_nonce_of_ones_own_comes_first_then_the_newest_of_the_server() {
        let clock = Arc::new(ManualClock::default());
        let nonces = MemoryNonces::new(10, Arc::clone(&clock) as Arc<dyn Clock>);
        let server = origin("https://one.org");
        let of = |name| NonceKey {
            session: session(name),
            role: ServerRole::Resource,
            origin: &server,
        };
        nonces.put(of("a"), "mine").await;
        nonces.put(of("b"), "newer").await;
        assert_eq!(nonces.get(of("a")).await.as_deref(), Some("mine"));
        assert_eq!(nonces.get(of("c")).await.as_deref(), Some("newer"));
        clock.advance(OWN_NONCE_PREFERRED_FOR);
        assert_eq!(nonces.get(of("a")).await.as_deref(), Some("newer"));
    }

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    /// A session for each name of one letter.
    fn session(name: &str) -> RowId {
        let last = name.as_bytes()[0];
        format!("0192f3a4-7b1c-7def-8abc-0123456789{last:02x}")
            .parse()
            .unwrap()
    }
}
