//! The events of the network: one replica follows a stream of them, and hands what it hears to the
//! sessions.

use std::io;
use std::sync::Arc;

use aip_base::{Clock, supervise};
use aip_events::{Change, Connection, Dial, Event, Follower, Following};
use aip_outbound::OperatorStreams;
use aip_sessions::{AccountHints, Hint, Keeper};
use aip_storage::{Storage, StorageError};
use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The task that one replica leads at a time. One is enough: what it finds out is in the database, and
/// the others hear by notices of what they remember.
const TASK: &str = "events";

/// Connects to event servers, which the operator names.
pub struct OperatorDial(pub OperatorStreams);

#[async_trait]
impl Dial for OperatorDial {
    async fn dial(&self, host: &str, port: u16, tls: bool) -> io::Result<Connection> {
        Ok(Box::new(self.0.connect(host, port, tls).await?))
    }
}

/// Receives the events, in one process.
struct SessionsFollower {
    hints: Arc<AccountHints>,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    owner: String,
    following: Arc<Following>,
}

/// Follows the stream until it is dropped.
pub(super) async fn run(following: Arc<Following>, hints: Arc<AccountHints>, keeper: &Keeper) {
    let follower = SessionsFollower {
        hints: Arc::clone(&hints),
        storage: Arc::clone(&keeper.upstream.storage),
        clock: Arc::clone(&keeper.upstream.clock),
        owner: keeper.owner().to_owned(),
        following,
    };
    // In tasks of their own: a busy stream holds up nothing else of the background, and whatever a
    // server sends, it ends nothing else of this process.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        supervise("events of the network", || {
            follower.following.run(&follower)
        })
        .await;
    });
    tasks.spawn(async move { supervise("hints about accounts", || hints.run()).await });
    while tasks.join_next().await.is_some() {}
}

impl SessionsFollower {
    fn log(error: &StorageError) {
        tracing::warn!(%error, "what an event says cannot be looked up or kept");
    }
}

#[async_trait]
impl Follower for SessionsFollower {
    async fn leads(&self) -> bool {
        let length = 3 * self.following.timing.lead_every;
        let now = self.clock.now();
        let led = self
            .storage
            .acquire_leadership(TASK, &self.owner, length, now);
        led.await.inspect_err(Self::log).unwrap_or(false)
    }

    async fn cursor(&self, source: &str) -> Option<i64> {
        loop {
            let cursor = self.storage.event_cursor(source).await;
            if let Ok(cursor) = cursor.inspect_err(Self::log) {
                return cursor;
            }
            // From another place events would be missed.
            sleep(self.following.timing.lead_every).await;
        }
    }

    async fn keep_cursor(&self, source: &str, cursor: i64) {
        let now = self.clock.now();
        let kept = self.storage.keep_event_cursor(source, cursor, now).await;
        drop(kept.inspect_err(Self::log));
    }

    async fn receive(&self, events: Vec<Event>) -> bool {
        let hints = events.into_iter().map(|event| {
            let hint = match event.change {
                Change::Identity => Hint::Identity,
                Change::Account { active: true } => Hint::InUse,
                Change::Account { active: false } => Hint::NotInUse,
            };
            (event.did, hint)
        });
        let hints: Vec<_> = hints.collect();
        let taken = self.hints.receive(&hints).await;
        taken.inspect_err(Self::log).is_ok()
    }

    async fn events_missed(&self) -> bool {
        let taken = self.hints.verify_paused().await;
        taken.inspect_err(Self::log).is_ok()
    }
}
