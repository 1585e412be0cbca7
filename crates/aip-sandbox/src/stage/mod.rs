//! What every stand-in stands on: a loopback server whose answers can be held back, dropped or
//! replaced ([`faults`]), and which remembers everything it was asked ([`journal`]).

pub(crate) mod faults;
pub(crate) mod journal;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod server;

use std::any::Any;
use std::sync::Mutex;

use aip_base::lock;

pub(crate) use faults::Faults;
pub(crate) use journal::Journal;
use reply::Reply;
use request::Received;

/// The part of a stand-in that tests look at and meddle with.
#[derive(Default)]
pub(crate) struct Stage {
    /// Everything it was asked.
    pub(crate) journal: Journal<Received>,
    pub(crate) faults: Faults,
    /// Answers that took effect and that nobody got, because a test ordered it: whoever counts what
    /// an application lost can tell what it could not help losing.
    pub(crate) lost: Journal<Reply>,
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Stage {
    /// Remembers that answering a request panicked, for [`Stage::rethrow`].
    pub(crate) fn record_panic(&self, payload: Box<dyn Any + Send>) {
        lock(&self.panicked).get_or_insert(payload);
    }

    /// Continues a panic that happened in a connection's task in the thread of the test.
    pub(crate) fn rethrow(&self) {
        let payload = lock(&self.panicked).take();
        if let Some(payload) = payload
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(payload);
        }
    }

    /// Checks that every fault that was ordered has happened.
    pub(crate) fn finish(&self) -> Result<(), Unfinished> {
        self.rethrow();
        let left = self.faults.left_over();
        if left.is_empty() {
            Ok(())
        } else {
            Err(Unfinished { left })
        }
    }
}

/// Faults were ordered with [`times`](crate::Order::times) and never asked for: the test did not
/// do what it believes it did.
#[derive(Debug, thiserror::Error)]
#[error("ordered, but never reached: {}", left.join("; "))]
pub struct Unfinished {
    /// Each order in words.
    pub left: Vec<String>,
}
