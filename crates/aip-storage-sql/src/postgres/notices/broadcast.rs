//! Passes the notices that one connection receives to every subscriber of the process.

use aip_storage::notices::Notice;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::broadcast::{self, error::RecvError};

/// A subscriber that is this far behind loses the oldest notices.
const BEHIND: usize = 1024;

/// Hands each notice to every subscriber in this process.
#[derive(Clone)]
pub(super) struct Broadcast(broadcast::Sender<Notice>);

impl Broadcast {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    pub(super) fn publish(&self, notice: Notice) {
        // An error says that nobody listens.
        let _ = self.0.send(notice);
    }

    /// The stream keeps `alive` what feeds it, and holds a sender so that it never ends.
    pub(super) fn subscribe(&self, alive: impl Send + 'static) -> BoxStream<'static, Notice> {
        let state = (self.0.subscribe(), self.clone(), alive);
        let next = |(mut receiver, broadcast, alive)| async move {
            loop {
                match broadcast::Receiver::recv(&mut receiver).await {
                    Ok(notice) => return Some((notice, (receiver, broadcast, alive))),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        stream::unfold(state, next).boxed()
    }
}
