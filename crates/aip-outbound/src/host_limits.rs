//! Requests in flight per host, so that one slow PDS cannot hold every connection.
//!
//! A host is a name and a port. AIP's own requests (OAuth, refreshes, documents) have capacity of
//! their own there, and what is left to callers is shared: no account and no app has all of it, so
//! calls that stall hold back neither a sign-in nor somebody else's calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aip_base::{OnBehalfOf, Share, lock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many semaphores are remembered before idle ones are forgotten.
const MAX_SEMAPHORES: usize = 16 * 1024;

/// How many requests may be in flight to one host at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCapacity {
    /// AIP's own.
    pub own: usize,
    /// Those of callers, all together.
    pub callers: usize,
    /// Of these, those of one app.
    pub client: usize,
    /// Of these, those of one account.
    pub account: usize,
}

/// Who shares a capacity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Own(Arc<str>),
    Callers(Arc<str>),
    Client(Arc<str>, Arc<str>),
    Account(Arc<str>, Arc<str>),
}

/// A place among the requests to a host; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot(#[allow(dead_code, reason = "held for its end")] Vec<OwnedSemaphorePermit>);

/// The semaphores of all hosts.
pub(crate) struct HostLimits {
    capacity: HostCapacity,
    semaphores: Mutex<HashMap<Key, Arc<Semaphore>>>,
}

impl HostLimits {
    pub(crate) fn new(capacity: HostCapacity) -> Self {
        Self {
            capacity,
            semaphores: Mutex::default(),
        }
    }

    /// Waits for a place; for ever, so the caller sets a limit. `waits_for` tells meanwhile which
    /// share is used up.
    pub(crate) async fn slot(
        &self,
        host: &Arc<str>,
        caller: Option<&OnBehalfOf>,
        waits_for: &Mutex<Share>,
    ) -> Option<Slot> {
        let wanted = self.semaphores(host, caller);
        let mut permits = Vec::with_capacity(wanted.len());
        for (share, semaphore) in wanted.into_iter().flatten() {
            let free = Arc::clone(&semaphore).try_acquire_owned();
            let permit = if let Ok(permit) = free {
                permit
            } else {
                *lock(waits_for) = share;
                // The semaphores are never closed, so there is always a permit in the end.
                semaphore.acquire_owned().await.ok()?
            };
            permits.push(permit);
        }
        Some(Slot(permits))
    }

    /// What a request needs a place of each, in the order in which it waits for them.
    fn semaphores(
        &self,
        host: &Arc<str>,
        caller: Option<&OnBehalfOf>,
    ) -> [Option<(Share, Arc<Semaphore>)>; 3] {
        let host = || Arc::clone(host);
        let HostCapacity {
            own,
            callers,
            client,
            account,
        } = self.capacity;
        let mut known = lock(&self.semaphores);
        let mut of = |share, key, capacity| Some((share, semaphore(&mut known, key, capacity)));
        match caller {
            None => [of(Share::Host, Key::Own(host()), own), None, None],
            // The narrowest first: who waits for it holds nothing that others need.
            Some(OnBehalfOf {
                account: whose,
                client: app,
            }) => [
                of(
                    Share::Account,
                    Key::Account(host(), Arc::clone(whose)),
                    account,
                ),
                of(Share::Client, Key::Client(host(), Arc::clone(app)), client),
                of(Share::Host, Key::Callers(host()), callers),
            ],
        }
    }
}

/// The semaphore of `key`, new with this capacity if it is not known.
fn semaphore(
    known: &mut HashMap<Key, Arc<Semaphore>>,
    key: Key,
    capacity: usize,
) -> Arc<Semaphore> {
    if let Some(semaphore) = known.get(&key) {
        return Arc::clone(semaphore);
    }
    if known.len() >= MAX_SEMAPHORES {
        // A permit holds its semaphore: those with one owner left are idle.
        known.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
    }
    let semaphore = Arc::new(Semaphore::new(capacity));
    known.insert(key, Arc::clone(&semaphore));
    semaphore
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOST: &str = "a.org:443";

    fn limits() -> HostLimits {
        HostLimits::new(HostCapacity {
            own: 1,
            callers: 4,
            client: 3,
            account: 2,
        })
    }

    fn by(account: &str, client: &str) -> OnBehalfOf {
        OnBehalfOf {
            account: account.into(),
            client: client.into(),
        }
    }

    /// A place, or the share that is used up.
    async fn slot(
        limits: &HostLimits,
        host: &str,
        caller: Option<OnBehalfOf>,
    ) -> Result<Slot, Share> {
        let waits_for = Mutex::new(Share::Host);
        let host = host.into();
        let slot = limits.slot(&host, caller.as_ref(), &waits_for);
        match tokio::time::timeout(Duration::from_secs(1), slot).await {
            Ok(slot) => Ok(slot.unwrap()),
            Err(_) => Err(waits_for.into_inner().unwrap()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_host_does_not_slow_another_name_or_port() {
        let limits = limits();
        let held = slot(&limits, HOST, None).await.unwrap();
        assert_eq!(slot(&limits, HOST, None).await.unwrap_err(), Share::Host);
        for other in ["b.org:443", "a.org:8443"] {
            assert!(slot(&limits, other, None).await.is_ok(), "{other}");
        }
        drop(held);
        assert!(slot(&limits, HOST, None).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_take_nothing_from_own_requests_nor_one_account_all_from_others() {
        let limits = limits();
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(slot(&limits, HOST, Some(by("alice", "app"))).await.unwrap());
        }
        let refused = slot(&limits, HOST, Some(by("alice", "app"))).await;
        assert_eq!(refused.unwrap_err(), Share::Account);
        // The same app for somebody else, up to its share; then another app.
        held.push(slot(&limits, HOST, Some(by("bob", "app"))).await.unwrap());
        let refused = slot(&limits, HOST, Some(by("carol", "app"))).await;
        assert_eq!(refused.unwrap_err(), Share::Client);
        held.push(
            slot(&limits, HOST, Some(by("carol", "other")))
                .await
                .unwrap(),
        );
        let refused = slot(&limits, HOST, Some(by("dave", "third"))).await;
        assert_eq!(refused.unwrap_err(), Share::Host);
        assert!(slot(&limits, HOST, None).await.is_ok());
        held.clear();
        assert!(slot(&limits, HOST, Some(by("alice", "app"))).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_hosts_are_forgotten_and_busy_ones_are_not() {
        let limits = limits();
        let _held = slot(&limits, "busy.org:443", None).await.unwrap();
        for n in 0..3 * MAX_SEMAPHORES {
            let key = Key::Own(format!("{n}.org:443").into());
            semaphore(&mut lock(&limits.semaphores), key, 1);
        }
        assert!(limits.semaphores.lock().unwrap().len() <= MAX_SEMAPHORES);
        assert!(slot(&limits, "busy.org:443", None).await.is_err());
    }
}
