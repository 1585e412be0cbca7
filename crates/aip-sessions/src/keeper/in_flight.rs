//! Refreshes in flight in this process, at most one per session, and the callers that wait for a
//! session to settle, here or at another replica (single flight).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aip_base::RowId;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::Keeper;

/// The refreshes in flight. Waiters are woken as soon as a session settles; shutdown waits until
/// none is in flight.
#[derive(Default)]
pub struct InFlight {
    state: Mutex<State>,
    pub(super) idle: Notify,
}

#[derive(Default)]
struct State {
    running: HashSet<RowId>,
    waiting: HashMap<RowId, Waiters>,
}

#[derive(Default)]
struct Waiters {
    notify: Arc<Notify>,
    count: usize,
}

/// Marks the refresh of one session as in flight. Dropping it, also by a panic, wakes the waiters.
pub(super) struct InFlightGuard {
    pub(super) keeper: Arc<Keeper>,
    id: RowId,
}

/// A caller that waits for a session to settle.
pub(super) struct Waiter<'a> {
    in_flight: &'a InFlight,
    id: RowId,
    notify: Arc<Notify>,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Consistent after each operation, so a panic elsewhere poisons nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a waiter for a session.
    pub(super) fn wait_for(&self, id: RowId) -> Waiter<'_> {
        let mut state = self.lock();
        let waiters = state.waiting.entry(id).or_default();
        waiters.count += 1;
        let notify = Arc::clone(&waiters.notify);
        Waiter {
            in_flight: self,
            id,
            notify,
        }
    }

    /// Wakes the waiters of a session.
    pub(super) fn wake(&self, id: RowId) {
        if let Some(waiters) = self.lock().waiting.get(&id) {
            waiters.notify.notify_waiters();
        }
    }

    /// Whether a refresh of the session is in flight.
    pub(super) fn is_running(&self, id: RowId) -> bool {
        self.lock().running.contains(&id)
    }

    /// How many refreshes are in flight.
    pub(super) fn running(&self) -> usize {
        self.lock().running.len()
    }
}

impl InFlightGuard {
    /// `None`: a refresh of the session is in flight already.
    pub(super) fn take(keeper: &Arc<Keeper>, id: RowId) -> Option<Self> {
        keeper.in_flight.lock().running.insert(id).then(|| Self {
            keeper: Arc::clone(keeper),
            id,
        })
    }
}

impl Waiter<'_> {
    /// Completes at the next wake-up after this call.
    pub(super) fn notified(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let in_flight = &self.keeper.in_flight;
        in_flight.lock().running.remove(&self.id);
        in_flight.wake(self.id);
        in_flight.idle.notify_waiters();
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut waiters) = self.in_flight.lock().waiting.entry(self.id) {
            waiters.get_mut().count -= 1;
            if waiters.get().count == 0 {
                waiters.remove();
            }
        }
    }
}
