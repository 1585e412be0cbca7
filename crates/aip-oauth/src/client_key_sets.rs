//! The key sets of clients that keep them at an address of their own (`jwks_uri`).
//!
//! A set is read when an assertion needs it, and once more when one is signed with a key that is not
//! in it: the client has changed its keys. Anybody can send such an assertion, so that a set is read
//! by one request at a time, and not again before a pause has ended.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::{Http, Limits, Timestamp, lock};
use aip_jose::{Alg, JwkSet, PublicJwk};
use aip_storage::client::JwksUri;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use quick_cache::sync::Cache;

/// How long a set is taken to be as it was read.
const MAX_FRESH_AGE: Duration = Duration::from_mins(10);

/// How long a set is used that cannot be read again.
const MAX_AGE: Duration = Duration::from_hours(1);

/// How long a set is not read again, whatever an assertion is signed with.
const MIN_READ_INTERVAL: Duration = Duration::from_secs(30);

/// How many sets are remembered.
const MAX_KEY_SETS: usize = 1024;

/// What reading a set may cost.
const READ_LIMITS: Limits = Limits {
    max_bytes: 64 * 1024,
    deadline: Duration::from_secs(5),
};

/// Why the keys of a client are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the client cannot be read at {uri}: {why}")]
pub struct KeySetError {
    uri: JwksUri,
    why: String,
}

/// The key sets of clients.
pub struct ClientKeySets {
    http: Arc<dyn Http>,
    sets: Cache<JwksUri, Arc<KeySet>>,
}

/// One set.
#[derive(Default)]
struct KeySet {
    known: Mutex<FetchedKeys>,
    /// Held by the one request that reads it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct FetchedKeys {
    /// The keys, and when they were read.
    keys: Option<(Arc<JwkSet>, Timestamp)>,
    /// When it was last tried to read them, and why that failed.
    tried: Option<(Timestamp, Option<String>)>,
}

impl ClientKeySets {
    /// Reads them through `http`.
    pub fn new(http: Arc<dyn Http>) -> Self {
        Self {
            http,
            sets: Cache::new(MAX_KEY_SETS),
        }
    }

    /// The keys at `uri` that may have signed with `alg` under this `kid`; none when the set, as it is
    /// now, has none.
    pub(crate) async fn candidates(
        &self,
        uri: &JwksUri,
        kid: Option<&str>,
        alg: Alg,
        now: Timestamp,
    ) -> Result<Vec<PublicJwk>, KeySetError> {
        let Ok(set) = self
            .sets
            .get_or_insert_with(uri, || Ok::<_, Infallible>(Arc::default()));
        let before = lock(&set.known).clone();
        let fresh = before.candidates(MAX_FRESH_AGE, kid, alg, now);
        if !fresh.is_empty() {
            return Ok(fresh);
        }
        let after = self.read_again(uri, &set, &before, now).await;
        let keys = after.candidates(MAX_AGE, kid, alg, now);
        match after.tried {
            Some((_, Some(why))) if keys.is_empty() => Err(KeySetError {
                uri: uri.clone(),
                why,
            }),
            _ => Ok(keys),
        }
    }

    /// Reads the set, unless somebody else just did.
    async fn read_again(
        &self,
        uri: &JwksUri,
        set: &KeySet,
        before: &FetchedKeys,
        now: Timestamp,
    ) -> FetchedKeys {
        let _reading = set.reading.lock().await;
        let mut known = lock(&set.known).clone();
        let tried_at = |known: &FetchedKeys| known.tried.as_ref().map(|(at, _)| *at);
        let tried = tried_at(&known);
        let paused = tried.is_some_and(|at| now.since(at) < MIN_READ_INTERVAL);
        if paused || tried != tried_at(before) {
            return known;
        }
        let failure = match self.read(uri).await {
            Ok(keys) => {
                known.keys = Some((Arc::new(keys), now));
                None
            }
            Err(why) => Some(why),
        };
        known.tried = Some((now, failure));
        *lock(&set.known) = known.clone();
        known
    }

    async fn read(&self, uri: &JwksUri) -> Result<JwkSet, String> {
        let request = Request::get(uri.as_str())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .body(Bytes::new())
            .map_err(|error| error.to_string())?;
        let fetched = self
            .http
            .fetch(request, READ_LIMITS)
            .await
            .map_err(|error| error.to_string())?;
        if fetched.status != StatusCode::OK {
            return Err(format!("the answer has status {}", fetched.status.as_u16()));
        }
        JwkSet::from_json(&fetched.body).map_err(|error| format!("no JWK Set: {error}"))
    }
}

impl FetchedKeys {
    /// The keys, if the set was read at most `age` ago.
    fn candidates(
        &self,
        age: Duration,
        kid: Option<&str>,
        alg: Alg,
        now: Timestamp,
    ) -> Vec<PublicJwk> {
        match &self.keys {
            Some((keys, read_at)) if now.since(*read_at) <= age => {
                keys.candidates(kid, alg).into_iter().cloned().collect()
            }
            _ => Vec::new(),
        }
    }
}
