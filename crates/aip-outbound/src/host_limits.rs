//! Requests in flight per host, so that one slow PDS cannot hold every connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many hosts are remembered before idle ones are forgotten.
const MAX_HOSTS: usize = 4096;

/// One semaphore per host.
pub(crate) struct HostLimits {
    per_host: usize,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl HostLimits {
    pub(crate) fn new(per_host: usize) -> Self {
        Self {
            per_host,
            hosts: Mutex::default(),
        }
    }

    /// Waits for a free slot of `host`. `None` never happens in practice: the semaphores are not
    /// closed.
    pub(crate) async fn slot(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        self.semaphore(host).acquire_owned().await.ok()
    }

    fn semaphore(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = hosts.get(host) {
            return Arc::clone(semaphore);
        }
        if hosts.len() >= MAX_HOSTS {
            // A permit holds its semaphore: those with one owner left are idle.
            hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let semaphore = Arc::new(Semaphore::new(self.per_host));
        hosts.insert(host.to_owned(), Arc::clone(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_host_does_not_slow_another() {
        let limits = HostLimits::new(1);
        let slot = limits.slot("a.org").await.unwrap();
        assert_eq!(limits.semaphore("a.org").available_permits(), 0);
        assert!(limits.slot("b.org").await.is_some());
        drop(slot);
        assert_eq!(limits.semaphore("a.org").available_permits(), 1);
    }

    #[tokio::test]
    async fn idle_hosts_are_forgotten_and_busy_ones_are_not() {
        let limits = HostLimits::new(1);
        let _slot = limits.slot("busy.org").await;
        for n in 0..3 * MAX_HOSTS {
            limits.semaphore(&format!("{n}.org"));
        }
        assert!(limits.hosts.lock().unwrap().len() <= MAX_HOSTS);
        assert_eq!(limits.semaphore("busy.org").available_permits(), 0);
    }
}
