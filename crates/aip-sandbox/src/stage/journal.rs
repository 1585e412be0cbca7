//! What a stand-in was asked, or answered, newest last.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aip_base::lock;

use super::faults::Endpoint;

/// How many entries are remembered unless [`Journal::keep`] says otherwise.
const KEPT: usize = 10_000;

/// Requests or answers, by endpoint. Bounded: a load test would otherwise fill the memory.
pub(crate) struct Journal<T> {
    entries: Mutex<VecDeque<(Endpoint, T)>>,
    kept: AtomicUsize,
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            kept: AtomicUsize::new(KEPT),
        }
    }
}

impl<T: Clone> Journal<T> {
    /// Remembers only the newest `entries`; 0 for none.
    pub(crate) fn keep(&self, entries: usize) {
        self.kept.store(entries, Ordering::Relaxed);
    }

    /// Remembers what `entry` makes, which is not called when nothing is remembered.
    pub(crate) fn record(&self, endpoint: Endpoint, entry: impl FnOnce() -> T) {
        let kept = self.kept.load(Ordering::Relaxed);
        if kept == 0 {
            return;
        }
        let mut entries = lock(&self.entries);
        while entries.len() >= kept {
            entries.pop_front();
        }
        entries.push_back((endpoint, entry()));
    }

    pub(crate) fn all(&self) -> Vec<T> {
        let entries = lock(&self.entries);
        entries.iter().map(|(_, entry)| entry.clone()).collect()
    }

    pub(crate) fn at(&self, wanted: Endpoint) -> Vec<T> {
        lock(&self.entries)
            .iter()
            .filter(|(endpoint, _)| wanted.includes(*endpoint))
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
    }
}
