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

/// How long a nonce may be good. AT Protocol OAuth, "DPoP": servers rotate it within five minutes.
const LIFE: Duration = Duration::from_mins(5);

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
    talks: Cache<(ServerRole, Origin), Talk>,
    clock: Arc<dyn Clock>,
}

/// What passed between this process and the others about a server.
#[derive(Clone, Default)]
struct Talk {
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
            talks: Cache::new(SERVERS),
            clock,
        }
    }

    fn talk(&self, role: ServerRole, origin: &Origin) -> Talk {
        let talk = self.talks.get(&(role, origin.clone()));
        talk.unwrap_or_default()
    }

    /// Takes over what others know, if that may still be good.
    async fn ask(&self, role: ServerRole, origin: &Origin, now: Timestamp) {
        let talk = self.talk(role, origin);
        if !is_due(talk.asked, now) {
            return;
        }
        // Before the answer is there: whoever comes meanwhile does without.
        let asked = Some(now);
        self.talks
            .insert((role, origin.clone()), Talk { asked, ..talk });
        if let Some(Some(given)) = within(self.shared.newest_nonce(role, origin)).await
            && now.since(given.at) < LIFE
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
        if newest.is_none_or(|newest| now.since(newest) >= FRESH) {
            self.ask(role, origin, now).await;
        }
        self.own.get(key).await
    }

    async fn put(&self, key: NonceKey<'_>, nonce: &str) {
        self.own.put(key, nonce).await;
        let NonceKey { role, origin, .. } = key;
        let now = self.clock.now();
        let talk = self.talk(role, origin);
        let told = talk.told.as_ref();
        if told.is_some_and(|told| told.nonce == nonce) || !is_due(told.map(|it| it.at), now) {
            return;
        }
        let given = GivenNonce {
            nonce: nonce.to_owned(),
            at: now,
        };
        let told = Some(given.clone());
        self.talks
            .insert((role, origin.clone()), Talk { told, ..talk });
        within(self.shared.offer_nonce(role, origin, &given)).await;
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
