//! Repeating a request that a server wants again with its nonce (RFC 9449 §8, §9).
//!
//! Most servers take every nonce of the last minutes, so one repetition is enough. Some give a new
//! one with each answer and refuse all older ones: of requests that are sent side by side, each
//! makes the nonces of the others stale. Towards a server that was seen to do so, requests go one
//! at a time, until it has not done so for a while.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Clock, Timestamp, lock};
use aip_storage::nonces::ServerRole;
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// How often one request is sent at most.
const MAX_TRIES: u32 = 8;
/// How long a server is remembered to refuse older nonces.
const SERVER_MEMORY: Duration = Duration::from_mins(10);
/// How many such servers are remembered.
const MAX_SERVERS: usize = 1024;
/// How long a request waits for its turn; then it goes without.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request that is not answered keeps others waiting: by then the server has seen the
/// nonce.
const TURN_MAX_HOLD: Duration = Duration::from_secs(3);

/// The servers that take only their newest nonce, each with the requests that wait for a turn.
pub(crate) struct NewestNonceServers {
    clock: Arc<dyn Clock>,
    servers: Mutex<HashMap<(ServerRole, Origin), ServerQueue>>,
}

/// One such server. Whoever has the turn knows its newest nonce.
struct ServerQueue {
    last_refused_at: Timestamp,
    queue: Arc<Queue<Option<String>>>,
}

/// The tries of one request.
pub struct NonceTries<'a> {
    servers: &'a NewestNonceServers,
    role: ServerRole,
    origin: &'a Origin,
    nonce: Option<String>,
    challenges: u32,
    turn: Option<OwnedMutexGuard<Option<String>>>,
}

impl NewestNonceServers {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let servers = Mutex::default();
        Self { clock, servers }
    }

    /// The queue of a server that takes only its newest nonce. `refused`: it has just refused an older one.
    fn queue(
        &self,
        role: ServerRole,
        origin: &Origin,
        refused: bool,
    ) -> Option<Arc<Queue<Option<String>>>> {
        let now = self.clock.now();
        let fresh = |entry: &ServerQueue| now.since(entry.last_refused_at) < SERVER_MEMORY;
        let mut servers = lock(&self.servers);
        if servers.is_empty() && !refused {
            return None;
        }
        let key = (role, origin.clone());
        if !refused {
            return servers
                .get(&key)
                .filter(|entry| fresh(entry))
                .map(|entry| Arc::clone(&entry.queue));
        }
        if servers.len() >= MAX_SERVERS {
            servers.retain(|_, entry| fresh(entry));
        }
        if servers.len() >= MAX_SERVERS && !servers.contains_key(&key) {
            return None;
        }
        let entry = servers.entry(key).or_insert_with(|| ServerQueue {
            last_refused_at: now,
            queue: Arc::default(),
        });
        entry.last_refused_at = now;
        Some(Arc::clone(&entry.queue))
    }
}

impl<'a> NonceTries<'a> {
    /// The tries of a request to `origin`, once it is its turn.
    pub(crate) async fn begin(
        servers: &'a NewestNonceServers,
        role: ServerRole,
        origin: &'a Origin,
    ) -> Self {
        let mut tries = Self {
            servers,
            role,
            origin,
            nonce: None,
            challenges: 0,
            turn: None,
        };
        tries.take_turn(false).await;
        tries
    }

    /// The nonce for the next try.
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// The nonce for the next try, if it goes to `origin`: an account may move in between.
    pub fn nonce_for(&self, origin: &Origin) -> Option<&str> {
        self.nonce().filter(|_| self.origin == origin)
    }

    /// Begins with a nonce that is known from before, if there is no newer one.
    pub fn begin_with(&mut self, known: Option<String>) {
        self.nonce = self.nonce.take().or(known);
    }

    /// Sends one try. Others wait while it has the turn, but not for long.
    pub async fn run<T>(&mut self, request: impl Future<Output = T>) -> T {
        let mut request = pin!(request);
        if self.turn.is_some() {
            if let Ok(answer) = tokio::time::timeout(TURN_MAX_HOLD, &mut request).await {
                return answer;
            }
            self.turn = None;
        }
        request.await
    }

    /// The server answered with a challenge and gave `nonce`. Whether there is another try.
    pub async fn challenged(&mut self, nonce: String) -> bool {
        self.challenges += 1;
        self.nonce = Some(nonce);
        self.remember();
        // Once may be because the nonce was old, or there was none.
        if self.turn.is_none() && self.challenges > 1 {
            self.take_turn(true).await;
        }
        self.challenges < MAX_TRIES
    }

    /// The server took the nonce, and may have given the next one: it is the first of what is sent
    /// with the same turn.
    pub fn end(&mut self, given: Option<String>) {
        self.challenges = 0;
        self.nonce = given;
        self.remember();
    }

    fn remember(&mut self) {
        if let (Some(turn), Some(nonce)) = (&mut self.turn, &self.nonce) {
            **turn = Some(nonce.clone());
        }
    }

    async fn take_turn(&mut self, refused: bool) {
        if let Some(queue) = self.servers.queue(self.role, self.origin, refused)
            && let Ok(turn) = tokio::time::timeout(TURN_TIMEOUT, queue.lock_owned()).await
        {
            // Who had the turn before knows a newer nonce than this request does.
            self.nonce = turn.clone().or(self.nonce.take());
            self.turn = Some(turn);
        }
    }
}
