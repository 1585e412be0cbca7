//! How each server is doing: a circuit breaker for servers that are down, and pauses that servers
//! ask for (429 with `Retry-After`, RFC 6585 §4; the `RateLimit-*` headers of PDSs).
//!
//! Only what a server itself does counts: connections that fail, and failures of its own OAuth
//! endpoints and documents. Answers to forwarded calls do not, or an app could shut a server for
//! everybody by asking it for something that fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Backoff, Clock, Rng, Timestamp, lock, retry_after};
use http::{HeaderMap, StatusCode};

/// So many failures in a row open the breaker.
const FAILURES_TO_OPEN: u32 = 5;
/// How long it stays open, by how often in a row it has opened.
const OPEN_BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(4),
    cap: Duration::from_mins(1),
};
/// How long others wait while one request probes whether the server is back.
const PROBE_WAIT: Duration = Duration::from_secs(2);
/// No pause that a server asks for is longer. A longer one is a mistake.
const MAX_PAUSE: Duration = Duration::from_mins(15);
/// The pause of a 429 that says nothing about when to come back.
const DEFAULT_PAUSE: Duration = Duration::from_secs(10);
/// How many servers are remembered before those that are well are forgotten.
const MAX_ORIGINS: usize = 4096;

/// What is known of every server.
pub struct Origins {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    states: Mutex<HashMap<Origin, State>>,
}

/// The server is left alone for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is left alone for {} s", .0.as_secs())]
pub struct Paused(pub Duration);

/// A request that may be sent, until it is known how it went.
#[must_use = "the breaker learns from how a request went"]
pub(crate) struct Admission<'a> {
    origins: &'a Origins,
    origin: &'a Origin,
    probe: bool,
}

#[derive(Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    /// How often in a row the breaker has opened.
    openings: u32,
    open_until: Option<Timestamp>,
    /// Somebody is trying whether the server is back.
    probing: bool,
    /// Refreshes wait until then.
    paused_until: Option<Timestamp>,
    /// What nobody waits for waits until then: the rest of the server's budget is for apps.
    background_paused_until: Option<Timestamp>,
}

impl Origins {
    /// Nothing is known of any server.
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self {
            clock,
            rng,
            states: Mutex::default(),
        }
    }

    /// Asks whether a request may be sent to `origin` now.
    pub(crate) fn admit<'a>(&'a self, origin: &'a Origin) -> Result<Admission<'a>, Paused> {
        let now = self.clock.now();
        let probe = match lock(&self.states).get_mut(origin) {
            Some(state) => {
                if let Some(wait) = state.breaker_wait(now) {
                    return Err(Paused(wait));
                }
                state.probing = state.open_until.is_some();
                state.probing
            }
            None => false,
        };
        Ok(Admission {
            origins: self,
            origin,
            probe,
        })
    }

    /// How long refreshes at `origin` wait, if they do.
    pub fn refresh_wait(&self, origin: &Origin) -> Option<Duration> {
        let now = self.clock.now();
        let states = lock(&self.states);
        let state = states.get(origin)?;
        state
            .breaker_wait(now)
            .max(time_left(state.paused_until, now))
    }

    /// The servers at which nothing is to be done unasked.
    pub fn throttled(&self) -> Vec<Origin> {
        let now = self.clock.now();
        let states = lock(&self.states);
        let spared = states.iter().filter(|(_, state)| {
            let pause = time_left(state.paused_until, now)
                .max(time_left(state.background_paused_until, now));
            state.breaker_wait(now).max(pause).is_some()
        });
        spared.map(|(origin, _)| origin.clone()).collect()
    }

    /// Learns from an answer what the server can take. `own`: the answer of an endpoint that only
    /// AIP calls; what others called forth holds back nobody who waits.
    pub(crate) fn learn_limits(
        &self,
        origin: &Origin,
        status: StatusCode,
        headers: &HeaderMap,
        own: bool,
    ) {
        let now = self.clock.now();
        let limit = RateLimit::read(headers, now);
        let asked = (status == StatusCode::TOO_MANY_REQUESTS).then(|| {
            retry_after(headers)
                .or(limit.reset)
                .unwrap_or(DEFAULT_PAUSE)
        });
        let used_up = (limit.remaining == Some(0))
            .then_some(limit.reset)
            .flatten();
        let pause = asked.max(used_up);
        let spare = pause.max(limit.is_scarce().then_some(limit.reset).flatten());
        let Some(spare) = spare else { return };
        self.with(origin, |state| {
            let until = |time: Duration| Some(now + time.min(MAX_PAUSE));
            if let Some(pause) = pause.filter(|_| own) {
                state.paused_until = state.paused_until.max(until(pause));
            }
            state.background_paused_until = state.background_paused_until.max(until(spare));
        });
    }

    fn with(&self, origin: &Origin, change: impl FnOnce(&mut State)) {
        let mut states = lock(&self.states);
        if states.len() >= MAX_ORIGINS && !states.contains_key(origin) {
            let now = self.clock.now();
            states.retain(|_, state| !state.is_healthy(now));
        }
        // With so many servers in trouble at once the network is at fault, not one of them.
        if states.len() < MAX_ORIGINS || states.contains_key(origin) {
            change(states.entry(origin.clone()).or_default());
        }
    }

    fn failed(&self, origin: &Origin, probe: bool) {
        let now = self.clock.now();
        self.with(origin, |state| {
            state.failures = state.failures.saturating_add(1);
            if probe || (state.failures >= FAILURES_TO_OPEN && state.open_until.is_none()) {
                let time = OPEN_BACKOFF.delay(state.openings, &*self.rng);
                state.open_until = Some(now + time);
                state.openings = state.openings.saturating_add(1);
                state.probing = false;
                metrics::counter!("aip_upstream_breaker_openings_total", "origin" => server_class(origin))
                    .increment(1);
                tracing::warn!(%origin, seconds = time.as_secs(), "server not responding, circuit breaker open");
            }
        });
    }

    fn answered(&self, origin: &Origin) {
        if let Some(state) = lock(&self.states).get_mut(origin) {
            state.failures = 0;
            state.openings = 0;
            state.open_until = None;
            state.probing = false;
        }
    }
}

impl State {
    /// How long the breaker keeps requests back, if it does.
    fn breaker_wait(&self, now: Timestamp) -> Option<Duration> {
        match time_left(self.open_until, now) {
            None if self.probing => Some(PROBE_WAIT),
            wait => wait,
        }
    }

    fn is_healthy(&self, now: Timestamp) -> bool {
        self.failures == 0
            && self.open_until.is_none()
            && time_left(self.paused_until.max(self.background_paused_until), now).is_none()
    }
}

impl Admission<'_> {
    /// The server answered, whatever it said.
    pub(crate) fn answered(mut self) {
        self.origins.answered(self.origin);
        self.probe = false;
    }

    /// The server did not answer, or that it cannot.
    pub(crate) fn failed(mut self) {
        self.origins.failed(self.origin, self.probe);
        self.probe = false;
    }
}

impl Drop for Admission<'_> {
    /// A probe of which nobody heard says nothing: the next request probes.
    fn drop(&mut self) {
        if self.probe
            && let Some(state) = lock(&self.origins.states).get_mut(self.origin)
        {
            state.probing = false;
        }
    }
}

/// What `RateLimit-Limit`, `-Remaining` and `-Reset` say
/// (<https://docs.bsky.app/docs/advanced-guides/rate-limits>).
struct RateLimit {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
}

impl RateLimit {
    fn read(headers: &HeaderMap, now: Timestamp) -> Self {
        let reset = header_number(headers, "ratelimit-reset").map(|reset| {
            // PDSs name an instant; the draft standard, a number of seconds.
            let now = u64::try_from(now.as_secs()).unwrap_or_default();
            Duration::from_secs(if reset > now / 2 {
                reset.saturating_sub(now)
            } else {
                reset
            })
        });
        Self {
            limit: header_number(headers, "ratelimit-limit"),
            remaining: header_number(headers, "ratelimit-remaining"),
            reset,
        }
    }

    /// Less than a tenth is left.
    fn is_scarce(&self) -> bool {
        let both = self.remaining.zip(self.limit);
        both.is_some_and(|(remaining, limit)| remaining < limit / 10)
    }
}

fn header_number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn time_left(until: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    until
        .map(|until| until.since(now))
        .filter(|left| !left.is_zero())
}

/// The class of a server in metrics: labels must stay few.
pub(crate) fn server_class(origin: &Origin) -> &'static str {
    let host = origin.as_str().split("://").nth(1).unwrap_or_default();
    if host == "bsky.social" || host.ends_with(".bsky.network") {
        "bsky.network"
    } else {
        "other"
    }
}

#[cfg(test)]
mod tests;
