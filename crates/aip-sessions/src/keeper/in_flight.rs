//! Refreshes in flight in this process, at most one per session, and the callers that wait for a
//! session to settle, here or at another replica (single flight).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aip_base::{RowId, lock};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The refreshes in flight. Waiters are woken as soon as a session settles; shutdown waits until
/// none is in flight.
#[derive(Default)]
pub(super) struct InFlight {
    state: Mutex<State>,
    pub(super) idle: Notify,
}

#[derive(Default)]
struct State {
    running: HashSet<RowId>,
    /// Batches that are being claimed.
    claims: usize,
    waiting: HashMap<RowId, Waiters>,
}

#[derive(Default)]
struct Waiters {
    notify: Arc<Notify>,
    count: usize,
}

/// Marks the refresh of one session as in flight. Dropping it, also by a panic, wakes the waiters.
pub(super) struct InFlightGuard {
    in_flight: Arc<InFlight>,
    id: RowId,
}

/// Marks that a batch of sessions is being claimed, until their refreshes are in flight.
pub(super) struct ClaimGuard(Arc<InFlight>);

/// A caller that waits for a session to settle.
pub(super) struct Waiter<'a> {
    in_flight: &'a InFlight,
    id: RowId,
    notify: Arc<Notify>,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
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

    /// How many refreshes are in flight, or batches of them about to be.
    pub(super) fn running(&self) -> usize {
        let state = self.lock();
        state.running.len() + state.claims
    }
}

impl InFlightGuard {
    /// `None`: a refresh of the session is in flight already.
    pub(super) fn take(in_flight: &Arc<InFlight>, id: RowId) -> Option<Self> {
        in_flight.lock().running.insert(id).then(|| Self {
            in_flight: Arc::clone(in_flight),
            id,
        })
    }

    /// Waits until no refresh of the session is in flight. `None`: one still is after `max_wait`.
    pub(super) async fn take_within(
        in_flight: &Arc<InFlight>,
        id: RowId,
        max_wait: Duration,
    ) -> Option<Self> {
        let taken = async {
            let waiter = in_flight.wait_for(id);
            loop {
                let notified = waiter.notified();
                if let Some(guard) = Self::take(in_flight, id) {
                    return guard;
                }
                notified.await;
            }
        };
        tokio::time::timeout(max_wait, taken).await.ok()
    }
}

impl ClaimGuard {
    /// Held by everybody who is not in flight yet.
    pub(super) fn begin(in_flight: &Arc<InFlight>) -> Arc<Self> {
        in_flight.lock().claims += 1;
        Arc::new(Self(Arc::clone(in_flight)))
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
        let in_flight = &self.in_flight;
        in_flight.lock().running.remove(&self.id);
        in_flight.wake(self.id);
        in_flight.idle.notify_waiters();
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.0.lock().claims -= 1;
        self.0.idle.notify_waiters();
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0192f3a4-7b1c-7def-8abc-0123456789ab";
    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_guard_that_is_held_is_taken_when_it_is_dropped() {
        let in_flight = Arc::<InFlight>::default();
        let id = ID.parse().unwrap();
        let held = InFlightGuard::take(&in_flight, id).unwrap();
        assert!(InFlightGuard::take(&in_flight, id).is_none());
        let (second, ()) = tokio::join!(
            InFlightGuard::take_within(&in_flight, id, TEST_TIMEOUT),
            async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                drop(held);
            }
        );
        assert!(second.is_some());
        assert!(in_flight.is_running(id));
        drop(second);
        assert_eq!(in_flight.running(), 0);
        assert!(in_flight.lock().waiting.is_empty(), "no waiter is left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_guard_that_is_never_dropped_is_waited_for_so_long_and_no_longer() {
        let in_flight = Arc::<InFlight>::default();
        let id = ID.parse().unwrap();
        let held = InFlightGuard::take(&in_flight, id).unwrap();
        let began = tokio::time::Instant::now();
        let second = InFlightGuard::take_within(&in_flight, id, TEST_TIMEOUT).await;
        assert!(second.is_none());
        assert_eq!(began.elapsed(), TEST_TIMEOUT);
        drop(held);
        assert!(in_flight.lock().waiting.is_empty(), "no waiter is left");
    }

    #[tokio::test]
    async fn a_claim_is_in_flight_until_the_last_refresh_of_its_batch_is() {
        let in_flight = Arc::<InFlight>::default();
        let claim = ClaimGuard::begin(&in_flight);
        let of_attempt = Arc::clone(&claim);
        drop(claim);
        assert_eq!(in_flight.running(), 1);
        let guard = InFlightGuard::take(&in_flight, ID.parse().unwrap());
        drop(of_attempt);
        assert_eq!(in_flight.running(), 1);
        drop(guard);
        assert_eq!(in_flight.running(), 0);
    }
}
