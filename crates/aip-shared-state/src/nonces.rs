//! DPoP nonces in tiers (RFC 9449 §8): what this process was given, and only when that is old,
//! what another replica was given.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Clock, Timestamp};
use aip_pds::{MemoryNonces, NonceKey, NonceStore};
use aip_storage::StorageError;
use aip_storage::nonces::{ReceivedNonce, ServerRole, SharedNonces};
use async_trait::async_trait;
use quick_cache::sync::Cache;
use tokio::time::timeout;

/// How long what a server gave to this process is good enough.
const NONCE_FRESH_FOR: Duration = Duration::from_mins(1);

/// How long a nonce may be good. AT Protocol OAuth, "DPoP": servers rotate it within five minutes.
const NONCE_MAX_AGE: Duration = Duration::from_mins(5);

/// Between two questions or two offers for one server.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How long a look-up of a shared nonce may take. A nonce less costs one round trip to the PDS, about as much.
const SHARED_LOOKUP_TIMEOUT: Duration = Duration::from_millis(250);

/// Servers that are remembered at a time.
const MAX_SERVERS: usize = 4096;

/// The nonces of this process, and of the others.
pub struct TieredNonces {
    own: MemoryNonces,
    shared: Arc<dyn SharedNonces>,
    sync_states: Cache<(ServerRole, Origin), SyncState>,
    clock: Arc<dyn Clock>,
}

/// When nonces of a server were last exchanged with other replicas.
#[derive(Clone, Default)]
struct SyncState {
    /// When the shared nonce was last read.
    last_asked: Option<Timestamp>,
    /// The nonce that was last shared.
    last_offered: Option<ReceivedNonce>,
}

impl TieredNonces {
    /// Puts `shared` behind `own`.
    pub fn new(own: MemoryNonces, shared: Arc<dyn SharedNonces>, clock: Arc<dyn Clock>) -> Self {
        Self {
            own,
            shared,
            sync_states: Cache::new(MAX_SERVERS),
            clock,
        }
    }

    fn sync_state(&self, role: ServerRole, origin: &Origin) -> SyncState {
        let sync_state = self.sync_states.get(&(role, origin.clone()));
        sync_state.unwrap_or_default()
    }

    /// Takes over what others know, if that may still be good.
    async fn ask(&self, role: ServerRole, origin: &Origin, now: Timestamp) {
        let sync_state = self.sync_state(role, origin);
        if !is_due(sync_state.last_asked, now) {
            return;
        }
        // Before the answer is there: whoever comes meanwhile does without.
        let last_asked = Some(now);
        self.sync_states.insert(
            (role, origin.clone()),
            SyncState {
                last_asked,
                ..sync_state
            },
        );
        if let Some(Some(given)) = within(self.shared.newest_nonce(role, origin)).await
            && now.since(given.at) < NONCE_MAX_AGE
        {
            self.own.learn(role, origin, given);
        }
    }
}

#[async_trait]
impl NonceStore for TieredNonces {
    async fn get(&self, key: NonceKey<'_>) -> Option<String> {
        let NonceKey { role, origin, .. } = key;
        let now = self.clock.now();
        let newest = self.own.newest_at(role, origin);
        if newest.is_none_or(|newest| now.since(newest) >= NONCE_FRESH_FOR) {
            self.ask(role, origin, now).await;
        }
        self.own.get(key).await
    }

    async fn put(&self, key: NonceKey<'_>, nonce: &str) {
        self.own.put(key, nonce).await;
        let NonceKey { role, origin, .. } = key;
        let now = self.clock.now();
        let sync_state = self.sync_state(role, origin);
        let last_offered = sync_state.last_offered.as_ref();
        if last_offered.is_some_and(|last_offered| last_offered.nonce == nonce)
            || !is_due(last_offered.map(|it| it.at), now)
        {
            return;
        }
        let given = ReceivedNonce {
            nonce: nonce.to_owned(),
            at: now,
        };
        let last_offered = Some(given.clone());
        self.sync_states.insert(
            (role, origin.clone()),
            SyncState {
                last_offered,
                ..sync_state
            },
        );
        within(self.shared.offer_nonce(role, origin, &given)).await;
    }
}

fn is_due(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_none_or(|last| now.since(last) >= SYNC_INTERVAL)
}

/// The answer, if there is one in time. A failure is no news worth more than a line.
async fn within<T>(answer: impl Future<Output = Result<T, StorageError>>) -> Option<T> {
    match timeout(SHARED_LOOKUP_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(%error, "sharing a DPoP nonce failed");
            None
        }
        Err(_) => {
            tracing::debug!("sharing a DPoP nonce timed out");
            None
        }
    }
}
