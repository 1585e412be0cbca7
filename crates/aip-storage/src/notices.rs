//! Notices between replicas: what one process did that others wait for or remember otherwise.
//!
//! A notice may be lost. Whoever waits for one also looks by itself from time to time, so a lost
//! notice costs time and nothing else.

use aip_atproto::Did;
use aip_base::RowId;
use async_trait::async_trait;
use futures_util::stream::{BoxStream, unfold};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Notices that a subscriber may be behind before it misses the oldest.
const BACKLOG_NOTICES: usize = 1024;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The refresh of this upstream session is settled: read it again.
    SessionSettled(RowId),
    /// The identity of this account was seen to change: forget what is cached of it.
    IdentityChanged(Did),
    /// Somebody says that the identity of this account has changed: read it anew at its next use.
    IdentityStale(Did),
}

/// Publishes notices to the other replicas and receives theirs.
#[async_trait]
pub trait Notices: Send + Sync + 'static {
    /// Tells all replicas. A failure is logged and costs them time.
    async fn publish(&self, notice: &Notice);

    /// What all replicas publish from now on, this one included. The stream reconnects by itself
    /// and never ends.
    fn subscribe(&self) -> BoxStream<'static, Notice>;
}

/// Hands notices to the subscribers of this process: all there is where one process is alone, and
/// otherwise those that its one connection receives. Shared by clones.
#[derive(Clone)]
pub struct LocalNotices(broadcast::Sender<Notice>);

impl Default for LocalNotices {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG_NOTICES))
    }
}

impl LocalNotices {
    /// Tells the subscribers of this process.
    pub fn broadcast(&self, notice: Notice) {
        // An error says that nobody listens.
        let _ = self.0.send(notice);
    }
}

#[async_trait]
impl Notices for LocalNotices {
    async fn publish(&self, notice: &Notice) {
        self.broadcast(notice.clone());
    }

    fn subscribe(&self) -> BoxStream<'static, Notice> {
        let subscriber = (self.clone(), self.0.subscribe());
        Box::pin(unfold(subscriber, |(sender, mut received)| async move {
            loop {
                match received.recv().await {
                    Ok(notice) => return Some((notice, (sender, received))),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "subscriber lagged, notices dropped");
                    }
                    // Never while the stream holds a sender.
                    Err(RecvError::Closed) => return None,
                }
            }
        }))
    }
}

impl Notice {
    /// The notice as one short line, for whatever carries it.
    pub fn to_text(&self) -> String {
        match self {
            Self::SessionSettled(id) => format!("settled {id}"),
            Self::IdentityChanged(did) => format!("identity {did}"),
            Self::IdentityStale(did) => format!("stale {did}"),
        }
    }

    /// Reads [`Self::to_text`]; `None` for what a newer release may say.
    pub fn from_text(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ')?;
        match kind {
            "settled" => Some(Self::SessionSettled(rest.parse().ok()?)),
            "identity" => Some(Self::IdentityChanged(Did::parse(rest).ok()?)),
            "stale" => Some(Self::IdentityStale(Did::parse(rest).ok()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_survives_its_text_and_an_unknown_one_is_ignored() {
        let settled =
            Notice::SessionSettled("0192f3a4-7b1c-7def-8abc-0123456789ab".parse().unwrap());
        let identity = Notice::IdentityChanged(Did::parse("did:web:alice.example").unwrap());
        let stale = Notice::IdentityStale(Did::parse("did:web:alice.example").unwrap());
        for notice in [settled, identity, stale] {
            assert_eq!(Notice::from_text(&notice.to_text()), Some(notice));
        }
        for text in [
            "",
            "settled",
            "settled x",
            "identity nobody",
            "stale nobody",
            "later things",
        ] {
            assert_eq!(Notice::from_text(text), None, "{text}");
        }
    }
}
