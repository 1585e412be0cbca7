//! DPoP nonces in tiers (RFC 9449 §8): what this process was given, and only when that is old,
//! what another replica was given.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Clock, Timestamp};
use aip_pds::{MemoryNonces, NonceKey, NonceStore};
use aip_storage::StorageError;
use aip_storage::nonces::{GivenNonce, ServerRole, SharedNonces};
use async_trait::async_trait;
use quick_cache::sync::Cache;
use tokio::time::timeout;

/// How long what a server gave to this process is good enough.
const FRESH: Duration = Duration::from_mins(1);

/// Between two questions or two offers for one server.
const PACE: Duration = Duration::from_secs(1);

/// How long the others are asked. A nonce less costs one round trip to the PDS, about as much.
const PATIENCE: Duration = Duration::from_millis(250);

/// Servers that are remembered at a time.
const SERVERS: usize = 4096;

/// The nonces of this process, and of the others.
pub struct TieredNonces {
    own: MemoryNonces,
    shared: Arc<dyn SharedNonces>,
    servers: Cache<(ServerRole, Origin), Server>,
    clock: Arc<dyn Clock>,
}

/// What this process knows of a server.
#[derive(Clone, Default)]
struct Server {
    /// When the newest nonce was given, whoever to.
    newest: Option<Timestamp>,
    /// When the others were asked.
    asked: Option<Timestamp>,
    /// What the others were told.
    told: Option<GivenNonce>,
}

impl TieredNonces {
    /// Puts `shared` behind `own`.
    pub fn new(own: MemoryNonces, shared: Arc<dyn SharedNonces>, clock: Arc<dyn Clock>) -> Self {
        Self {
            own,
            shared,
            servers: Cache::new(SERVERS),
            clock,
        }
    }

    fn server(&self, role: ServerRole, origin: &Origin) -> Server {
        let known = self.servers.get(&(role, origin.clone()));
        known.unwrap_or_default()
    }

    fn remember(&self, role: ServerRole, origin: &Origin, server: Server) {
        self.servers.insert((role, origin.clone()), server);
    }

    /// Takes over what others know, if it is newer than what this process knows.
    async fn ask(&self, key: NonceKey<'_>, mut known: Server) {
        let NonceKey { role, origin, .. } = key;
        known.asked = Some(self.clock.now());
        // Before the answer is there: whoever comes meanwhile does without.
        self.remember(role, origin, known.clone());
        let answer = within(self.shared.newest_nonce(role, origin)).await;
        if let Some(Some(given)) = answer
            && known.newest.is_none_or(|newest| newest < given.at)
        {
            known.newest = Some(given.at);
            self.remember(role, origin, known);
            self.own.put(key, &given.nonce).await;
        }
    }
}

#[async_trait]
impl NonceStore for TieredNonces {
    async fn get(&self, key: NonceKey<'_>) -> Option<String> {
        let now = self.clock.now();
        let known = self.server(key.role, key.origin);
        let stale = known.newest.is_none_or(|newest| now.since(newest) >= FRESH);
        if stale && is_due(known.asked, now) {
            self.ask(key, known).await;
        }
        self.own.get(key).await
    }

    async fn put(&self, key: NonceKey<'_>, nonce: &str) {
        self.own.put(key, nonce).await;
        let NonceKey { role, origin, .. } = key;
        let given = GivenNonce {
            nonce: nonce.to_owned(),
            at: self.clock.now(),
        };
        let mut known = self.server(role, origin);
        known.newest = Some(given.at);
        let new = known.told.as_ref().is_none_or(|told| told.nonce != nonce);
        let tell = new && is_due(known.told.as_ref().map(|told| told.at), given.at);
        if tell {
            known.told = Some(given.clone());
        }
        self.remember(role, origin, known);
        if tell {
            within(self.shared.offer_nonce(role, origin, &given)).await;
        }
    }
}

fn is_due(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_none_or(|last| now.since(last) >= PACE)
}

/// The answer, if there is one in time. A failure is no news worth more than a line.
async fn within<T>(answer: impl Future<Output = Result<T, StorageError>>) -> Option<T> {
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(%error, "nonces cannot be shared");
            None
        }
        Err(_) => {
            tracing::debug!("nonces cannot be shared in time");
            None
        }
    }
}
