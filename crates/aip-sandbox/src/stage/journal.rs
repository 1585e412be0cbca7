//! Everything a stand-in was asked, newest last.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aip_base::lock;
use bytes::Bytes;

use super::faults::Endpoint;
use super::request::Received;

/// How many requests are remembered unless [`Journal::keep`] says otherwise.
const KEPT: usize = 10_000;

/// How much of a body is remembered: forms and records, not videos.
const KEPT_OF_BODY: usize = 64 * 1024;

/// The requests of a stand-in. Bounded: a load test would otherwise fill the memory.
pub(crate) struct Journal {
    entries: Mutex<VecDeque<(Endpoint, Received)>>,
    kept: AtomicUsize,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            kept: AtomicUsize::new(KEPT),
        }
    }
}

impl Journal {
    /// Remembers only the newest `entries` requests; 0 for none.
    pub(crate) fn keep(&self, entries: usize) {
        self.kept.store(entries, Ordering::Relaxed);
    }

    pub(crate) fn record(&self, endpoint: Endpoint, request: &Received) {
        let kept = self.kept.load(Ordering::Relaxed);
        if kept == 0 {
            return;
        }
        let mut entries = lock(&self.entries);
        while entries.len() >= kept {
            entries.pop_front();
        }
        let mut request = request.clone();
        if request.body.len() > KEPT_OF_BODY {
            request.body = Bytes::copy_from_slice(&request.body[..KEPT_OF_BODY]);
        }
        entries.push_back((endpoint, request));
    }

    pub(crate) fn all(&self) -> Vec<Received> {
        lock(&self.entries)
            .iter()
            .map(|(_, request)| request.clone())
            .collect()
    }

    pub(crate) fn at(&self, wanted: Endpoint) -> Vec<Received> {
        lock(&self.entries)
            .iter()
            .filter(|(endpoint, _)| wanted.includes(*endpoint))
            .map(|(_, request)| request.clone())
            .collect()
    }

    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
    }
}
