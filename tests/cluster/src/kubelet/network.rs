//! Addresses of Pods.
//!
//! An `EndpointSlice` may not hold a loopback address, and a process of this machine can listen on
//! nothing else without privileges. So a Pod is `10.x.y.z` towards Kubernetes and listens on
//! `127.x.y.z`. `x.y` are the API server's port, which no other cluster of this machine has now.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The address on this machine of a Pod that Kubernetes knows as `pod`.
pub fn local_address(pod: Ipv4Addr) -> Ipv4Addr {
    let [_, x, y, z] = pod.octets();
    Ipv4Addr::new(127, x, y, z)
}

/// The addresses that one cluster gives to its Pods.
#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

struct Inner {
    prefix: [u8; 2],
    allocations: Mutex<Allocations>,
}

#[derive(Default)]
struct Allocations {
    last: u8,
    used: BTreeSet<u8>,
}

/// An address that nobody else has until this is dropped.
pub(crate) struct Address {
    network: Network,
    host: u8,
}

impl Network {
    pub(crate) fn new(port: u16) -> Self {
        Self(Arc::new(Inner {
            prefix: port.to_be_bytes(),
            allocations: Mutex::default(),
        }))
    }

    /// The address whose turn it is: one that was just given back rests longest.
    pub(crate) fn allocate(&self) -> Option<Address> {
        let mut allocations = self
            .0
            .allocations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let after = allocations.last;
        let mut order = (after.saturating_add(1)..=254).chain(1..=after);
        let host = order.find(|host| !allocations.used.contains(host))?;
        allocations.last = host;
        allocations.used.insert(host);
        Some(Address {
            network: self.clone(),
            host,
        })
    }
}

impl Address {
    /// As Kubernetes knows it.
    pub(crate) fn pod(&self) -> Ipv4Addr {
        let [x, y] = self.network.0.prefix;
        Ipv4Addr::new(10, x, y, self.host)
    }

    /// As this machine knows it.
    pub(crate) fn local(&self) -> IpAddr {
        local_address(self.pod()).into()
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let allocations = &self.network.0.allocations;
        let mut allocations = allocations.lock().unwrap_or_else(PoisonError::into_inner);
        allocations.used.remove(&self.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_given_back_rests_longest() {
        let network = Network::new(0x5102);
        let first = network.allocate().unwrap();
        assert_eq!(first.pod(), Ipv4Addr::new(10, 0x51, 2, 1));
        assert_eq!(first.local(), Ipv4Addr::new(127, 0x51, 2, 1));
        drop(first);
        assert_eq!(network.allocate().unwrap().host, 2);

        let all: Vec<_> = std::iter::from_fn(|| network.allocate()).collect();
        assert_eq!(all.len(), 254);
        assert!(network.allocate().is_none());
    }
}
