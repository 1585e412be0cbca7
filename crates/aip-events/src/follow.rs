//! Follows the stream for good: one replica at a time, again after every failure, and from where it
//! stopped.

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Backoff, Clock, Http, Rng, Timestamp};
use async_trait::async_trait;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::{
    Change, Dial, Dictionary, Event, EventServer, Frame, OpenError, Protocol, Subscription,
};

/// Between two tries to connect.
const RETRY: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_mins(1),
};
/// The most events that are delivered at once.
const BATCH_EVENTS: usize = 500;
/// So many connections in a row that brought nothing new: what is at that place in the stream may be what
/// ends them.
const MAX_FRUITLESS_CONNECTIONS: u32 = 3;
/// So many frames in a row that cannot be read are no accident: the server speaks something else.
const MAX_MALFORMED: u32 = 100;
/// No more events are read in a second, so that a server decides neither how often the database is asked
/// nor how much waits: the rest stays in the connection.
const MAX_EVENTS_PER_SECOND: u32 = 1000;
/// A cursor of v1 is a time. One that is further in the future is no place to go on from.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(1);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Connection and handshake together.
    pub open_timeout: Duration,
    /// After so long a silence the server is asked whether it is there.
    pub ping_after: Duration,
    /// After so long a silence it is not.
    pub silent_after: Duration,
    /// Events are delivered after this time at the latest.
    pub deliver_every: Duration,
    /// How often the place in the stream is kept.
    pub keep_cursor_every: Duration,
    /// How often it is asked who follows.
    pub lead_every: Duration,
    /// The pause after a failure; `None` for the usual one, which grows.
    pub retry_after: Option<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            open_timeout: Duration::from_secs(15),
            ping_after: Duration::from_secs(30),
            silent_after: Duration::from_mins(1),
            deliver_every: Duration::from_secs(1),
            keep_cursor_every: Duration::from_secs(10),
            lead_every: Duration::from_secs(10),
            retry_after: None,
        }
    }
}

/// Who is told of events, and remembers how far they were read.
#[async_trait]
pub trait Follower: Send + Sync {
    /// Whether this process is the one that follows, from now on for three times
    /// [`Timing::lead_every`].
    async fn leads(&self) -> bool;

    /// The place in the stream of `source` up to which events were delivered. Returns once that is known.
    async fn cursor(&self, source: &str) -> Option<i64>;

    /// Keeps it.
    async fn keep_cursor(&self, source: &str, cursor: i64);

    /// Something has changed. Events come more than once and in any order. Whether they were taken: if
    /// not, they are read again.
    async fn receive(&self, events: Vec<Event>) -> bool;

    /// Events were missed, nobody knows which; or whoever followed before may have ended before it had
    /// done all that was delivered. Told once the stream is open, if that begins at no place that is kept: all
    /// that happens from then on is in it. Whether this was taken: if not, it is told again.
    async fn events_missed(&self) -> bool;
}

/// What a stream is followed with.
pub struct Following {
    /// The server.
    pub server: EventServer,
    /// Whether it is to compress its frames, if it can.
    pub compress: bool,
    /// Opens connections.
    pub dial: Arc<dyn Dial>,
    /// Reads the dictionary.
    pub http: Arc<dyn Http>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Spreads the tries.
    pub rng: Arc<dyn Rng>,
    /// How long things may take.
    pub timing: Timing,
}

/// One connection, from its opening to its end.
#[derive(Default)]
struct Progress {
    /// Whether the server took the request, or refused it.
    answered: bool,
    /// Where the last frame was that was read.
    read: Option<i64>,
    /// Up to where events were delivered.
    delivered: Option<i64>,
    /// It was not taken that events were missed.
    missed: bool,
}

/// Why a connection is over.
enum End {
    /// Another process follows.
    NotLeader,
    /// The cursor is of no use: from now on.
    CursorTooOld,
    /// What was read was not taken.
    NotTaken,
    /// Anything else.
    Failed(String),
}

impl Following {
    /// Follows until it is dropped, and tells `follower`. Dropped anywhere, it loses what was read and
    /// not yet kept, which is read again.
    pub async fn run(&self, follower: &dyn Follower) {
        let connected = metrics::gauge!("aip_event_stream_connected");
        connected.set(0.0);
        let source = self.server.as_str();
        let mut failures = 0;
        let mut fruitless = 0;
        // The stream is read from now on, whatever place is kept.
        let mut skip_cursor = false;
        let mut missed = true;
        loop {
            while !follower.leads().await {
                // Whoever leads now may be killed.
                missed = true;
                tokio::time::sleep(self.timing.lead_every).await;
            }
            let cursor = follower.cursor(source).await.filter(|_| !skip_cursor);
            // Without a place, that is told when the stream is open.
            if missed && cursor.is_some() && !follower.events_missed().await {
                tokio::time::sleep(self.timing.lead_every).await;
                continue;
            }
            let mut progress = Progress::default();
            let began = Instant::now();
            let end = self.run_connection(follower, cursor, &mut progress).await;
            connected.set(0.0);
            if let Some(cursor) = progress.delivered {
                follower.keep_cursor(source, cursor).await;
            }
            missed = progress.missed;
            let is_taken = !matches!(end, End::NotTaken);
            let made_progress = progress.read > cursor || began.elapsed() >= RETRY.cap;
            failures = if made_progress && is_taken {
                0
            } else {
                failures + 1
            };
            let is_fruitless = progress.answered && cursor.is_some() && !made_progress && is_taken;
            fruitless = if is_fruitless { fruitless + 1 } else { 0 };
            skip_cursor = fruitless >= MAX_FRUITLESS_CONNECTIONS;
            let reason = match end {
                End::NotLeader => continue,
                End::CursorTooOld => {
                    skip_cursor = true;
                    OpenError::CursorTooOld.to_string()
                }
                End::NotTaken => "what was read cannot be looked up now".to_owned(),
                End::Failed(reason) => reason,
            };
            let usual = RETRY.delay(failures, &*self.rng);
            let pause = self.timing.retry_after.unwrap_or(usual);
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                server = source,
                reason,
                pause_ms,
                "event stream disconnected, retrying"
            );
            metrics::counter!("aip_event_stream_failures_total").increment(1);
            tokio::time::sleep(pause).await;
        }
    }

    async fn open(&self, cursor: Option<i64>) -> Result<Subscription, OpenError> {
        let dictionary = if self.compress {
            Dictionary::of(&self.server, &*self.http).await?
        } else {
            None
        };
        let (dial, timing) = (&*self.dial, self.timing);
        Subscription::open(&self.server, dial, cursor, dictionary.as_ref(), timing).await
    }

    /// Connects, once, as `aip doctor` does to see whether the server can be followed.
    pub async fn check_connection(&self) -> Result<(), OpenError> {
        self.open(None).await.map(drop)
    }

    async fn run_connection(
        &self,
        follower: &dyn Follower,
        cursor: Option<i64>,
        progress: &mut Progress,
    ) -> End {
        let mut subscription = match self.open(cursor).await {
            Ok(subscription) => subscription,
            Err(OpenError::CursorTooOld) => return End::CursorTooOld,
            Err(error) => {
                progress.answered = matches!(error, OpenError::Refused(_));
                return End::Failed(error.to_string());
            }
        };
        progress.answered = true;
        let server = self.server.as_str();
        tracing::info!(server, cursor, "event stream connected");
        metrics::gauge!("aip_event_stream_connected").set(1.0);
        // What was before, and what was read of an earlier connection and kept by nobody, is not in the stream.
        if cursor.is_none() && !follower.events_missed().await {
            return End::NotTaken;
        }
        let every = |period: Duration| {
            let mut ticks = interval_at(Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let mut deliver_ticks = every(self.timing.deliver_every);
        let mut keep_ticks = every(self.timing.keep_cursor_every);
        let mut lead_ticks = every(self.timing.lead_every);
        let mut allowance_ticks = every(Duration::from_secs(1));
        let mut allowance = MAX_EVENTS_PER_SECOND;
        let mut batch = Vec::new();
        let mut malformed = 0;
        let mut gap = false;
        loop {
            tokio::select! {
                frame = subscription.next(), if allowance > 0 => match frame {
                    Err(error) => {
                        deliver(follower, &mut batch, progress).await;
                        return End::Failed(error.to_string());
                    }
                    Ok(Err(reason)) => {
                        count("malformed");
                        malformed += 1;
                        tracing::debug!(server, reason, "event skipped");
                        if malformed > MAX_MALFORMED {
                            return End::Failed(reason);
                        }
                    }
                    Ok(Ok(frame)) => {
                        if !matches!(frame, Frame::Gap(_)) {
                            malformed = 0;
                        }
                        match frame {
                            Frame::Event(event, cursor) => {
                                allowance -= 1;
                                count(kind(&event));
                                progress.read = self.later(progress.read, Some(cursor));
                                batch.push(event);
                            }
                            Frame::Other(cursor) => {
                                count("other");
                                progress.read = self.later(progress.read, cursor);
                            }
                            // Where a stream begins is told once. One that tells it for ever would make
                            // this server log and look for ever.
                            Frame::Gap(reason) if gap => {
                                count("malformed");
                                malformed += 1;
                                if malformed > MAX_MALFORMED {
                                    return End::Failed(reason);
                                }
                            }
                            Frame::Gap(reason) => {
                                gap = true;
                                tracing::warn!(server, reason, "events were missed");
                                if !follower.events_missed().await {
                                    progress.missed = true;
                                    return End::NotTaken;
                                }
                            }
                            Frame::Ended(reason) => {
                                deliver(follower, &mut batch, progress).await;
                                return End::Failed(reason);
                            }
                        }
                    }
                },
                _ = allowance_ticks.tick() => allowance = MAX_EVENTS_PER_SECOND,
                _ = deliver_ticks.tick() => if !deliver(follower, &mut batch, progress).await {
                    return End::NotTaken;
                },
                _ = keep_ticks.tick() => if let Some(cursor) = progress.delivered {
                    follower.keep_cursor(server, cursor).await;
                },
                _ = lead_ticks.tick() => if !follower.leads().await {
                    return End::NotLeader;
                },
            }
            if batch.len() >= BATCH_EVENTS && !deliver(follower, &mut batch, progress).await {
                return End::NotTaken;
            }
        }
    }

    /// The later of two places. Servers may send out of order, and lie about the time.
    fn later(&self, read: Option<i64>, cursor: Option<i64>) -> Option<i64> {
        let latest = self.clock.now() + MAX_CLOCK_SKEW;
        let usable = cursor.filter(|cursor| match self.server.protocol() {
            Protocol::V1 => Timestamp::from_micros(*cursor) <= latest,
            Protocol::V2 => true,
        });
        read.max(usable)
    }
}

/// Delivers what was read. Whether it was taken.
async fn deliver(follower: &dyn Follower, batch: &mut Vec<Event>, progress: &mut Progress) -> bool {
    let taken = batch.is_empty() || follower.receive(std::mem::take(batch)).await;
    if taken {
        progress.delivered = progress.read;
    }
    taken
}

fn kind(event: &Event) -> &'static str {
    match event.change {
        Change::Identity => "identity",
        Change::Account { .. } => "account",
    }
}

fn count(kind: &'static str) {
    metrics::counter!("aip_events_total", "kind" => kind).increment(1);
}
