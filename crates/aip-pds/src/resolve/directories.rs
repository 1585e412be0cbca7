//! The PLC directories: which is asked first, and which are asked last for a while.
//!
//! The last of the list is the authority. What decides who somebody is, is read there alone: a mirror may lag
//! behind, and a document from before a migration leads to a server that the account has left. Everything else
//! is read at the mirrors first, at those that answer before those that do not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_atproto::{Did, Origin};
use aip_base::{Clock, Limits, Timestamp, lock};

use crate::document::DOCUMENT_LIMITS;

/// So many failures in a row, and a directory is asked last.
const FAILURES_TO_AVOID: u32 = 3;
/// For how long at first; each further failure doubles it.
const AVOIDED_FOR: Duration = Duration::from_secs(30);
/// No directory is avoided for longer without another try.
const MAX_AVOIDED_FOR: Duration = Duration::from_mins(5);
/// A read that nobody waits for any more has failed if it took this long.
const SLOW: Duration = Duration::from_secs(2);
/// A mirror is given less time than the authority, so that there is time left to ask another.
const MIRROR_LIMITS: Limits = Limits {
    deadline: Duration::from_secs(3),
    ..DOCUMENT_LIMITS
};

/// The directories, and how they are doing.
pub(super) struct Directories {
    clock: Arc<dyn Clock>,
    origins: Vec<Origin>,
    /// One for each of `origins`.
    health: Mutex<Vec<Health>>,
}

/// The place of a directory in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryId(usize);

#[derive(Debug, Clone, Default)]
struct Health {
    /// Failures in a row.
    failures: u32,
    avoided_until: Option<Timestamp>,
}

/// A read under way, until it is known whether the directory answers.
#[must_use = "the order of the directories depends on how reads end"]
pub(super) struct DirectoryRead<'a> {
    directories: &'a Directories,
    id: DirectoryId,
    began: Timestamp,
    has_ended: bool,
}

impl Directories {
    /// These, mirrors first. Each is believed to be well.
    pub(super) fn new(origins: Vec<Origin>, clock: Arc<dyn Clock>) -> Self {
        let health = vec![Health::default(); origins.len()];
        Self {
            clock,
            origins,
            health: Mutex::new(health),
        }
    }

    /// The authority: the last of the list.
    pub(super) fn authority(&self) -> Option<DirectoryId> {
        self.origins.len().checked_sub(1).map(DirectoryId)
    }

    /// All of them in the order in which they are asked: those that are well in the order of the list, then
    /// the others.
    pub(super) fn in_order(&self) -> Vec<DirectoryId> {
        let now = self.clock.now();
        let health = lock(&self.health);
        let is_avoided = |id: &DirectoryId| {
            let until = health.get(id.0).and_then(|it| it.avoided_until);
            until.is_some_and(|until| now < until)
        };
        let ids = (0..self.origins.len()).map(DirectoryId);
        let (avoided, well): (Vec<_>, Vec<_>) = ids.partition(is_avoided);
        [well, avoided].concat()
    }

    /// Where the document of `did` is.
    pub(super) fn url(&self, id: DirectoryId, did: &Did) -> Option<String> {
        let origin = self.origins.get(id.0)?;
        Some(origin.join(&format!("/{did}")))
    }

    /// How much is read, and how long that is waited for.
    pub(super) fn limits(&self, id: DirectoryId) -> Limits {
        if self.authority() == Some(id) {
            DOCUMENT_LIMITS
        } else {
            MIRROR_LIMITS
        }
    }

    /// Begins a read.
    pub(super) fn begin(&self, id: DirectoryId) -> DirectoryRead<'_> {
        DirectoryRead {
            directories: self,
            id,
            began: self.clock.now(),
            has_ended: false,
        }
    }

    fn answered(&self, id: DirectoryId) {
        let mut health = lock(&self.health);
        let (Some(health), Some(origin)) = (health.get_mut(id.0), self.origins.get(id.0)) else {
            return;
        };
        if health.avoided_until.is_some() {
            tracing::info!(directory = %origin, "PLC directory responding again");
        }
        *health = Health::default();
    }

    fn failed(&self, id: DirectoryId) {
        let now = self.clock.now();
        let mut health = lock(&self.health);
        let (Some(health), Some(origin)) = (health.get_mut(id.0), self.origins.get(id.0)) else {
            return;
        };
        health.failures = health.failures.saturating_add(1);
        if let Some(more) = health.failures.checked_sub(FAILURES_TO_AVOID) {
            let time = AVOIDED_FOR.saturating_mul(2_u32.saturating_pow(more.min(30)));
            let time = time.min(MAX_AVOIDED_FOR);
            health.avoided_until = Some(now + time);
            if more == 0 {
                tracing::warn!(directory = %origin, seconds = time.as_secs(), "PLC directory not responding, asked last from now on");
            }
        }
    }
}

impl DirectoryRead<'_> {
    /// The directory answered, if only that it does not know the DID.
    pub(super) fn answered(mut self) {
        self.has_ended = true;
        self.directories.answered(self.id);
    }

    /// The directory did not answer, or that it cannot.
    pub(super) fn failed(mut self) {
        self.has_ended = true;
        self.directories.failed(self.id);
    }
}

impl Drop for DirectoryRead<'_> {
    /// Nobody waits any more. A directory that took its time did not answer.
    fn drop(&mut self) {
        let took = self.directories.clock.now().since(self.began);
        if !self.has_ended && took >= SLOW {
            self.directories.failed(self.id);
        }
    }
}

#[cfg(test)]
#[path = "directories_tests.rs"]
mod tests;
