//! How many connections one network may hold, so that a single client does not keep everybody else
//! out. A connection above that is closed at once: nothing could be said on it before a TLS handshake.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use aip_base::lock;

/// Leading bits of an IPv6 address that stand for one client: anybody can have what follows.
const IPV6_BITS: u32 = 48;

/// The connections that are open, by network.
pub(crate) struct Networks {
    max_connections: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection, until it is dropped.
pub(crate) struct ConnectionSlot {
    networks: Arc<Networks>,
    network: IpAddr,
}

impl Networks {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self {
            max_connections,
            open: Mutex::default(),
        }
    }

    /// A place for a connection of `peer`; `None` when its network holds its share.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionSlot> {
        let network = network_of(peer);
        let share = share(network, self.max_connections);
        let mut open = lock(&self.open);
        let count = open.entry(network).or_insert(0);
        if *count >= share {
            return None;
        }
        *count += 1;
        drop(open);
        Some(ConnectionSlot {
            networks: Arc::clone(self),
            network,
        })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = lock(&self.networks.open);
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
            }
        }
    }
}

/// How many of all connections a network may hold: a sixteenth if it is of the Internet. Another
/// one is most often a proxy through which everybody comes: it leaves a tenth to others, such as
/// probes.
fn share(network: IpAddr, max_connections: usize) -> usize {
    let share = if is_public(network) {
        max_connections / 16
    } else {
        max_connections - max_connections / 10
    };
    share.max(1)
}

fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let kept = u128::MAX << (128 - IPV6_BITS);
            Ipv6Addr::from_bits(address.to_bits() & kept).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => {
            let [first, second, ..] = it.octets();
            // RFC 6598: between an operator and its customers.
            let shared = first == 100 && (64..128).contains(&second);
            let own = it.is_private() || it.is_loopback() || it.is_link_local();
            !(own || shared || it.is_unspecified())
        }
        IpAddr::V6(it) => {
            let own = it.is_unique_local() || it.is_unicast_link_local();
            // `::1` without its last bits.
            !(own || it.is_loopback() || it.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(networks: &Arc<Networks>, address: impl Fn(u16) -> String) -> Vec<ConnectionSlot> {
        let addresses = (0..1000).map(|n| address(n).parse().unwrap());
        addresses.map_while(|it| networks.admit(it)).collect()
    }

    #[test]
    fn a_network_of_the_internet_holds_its_share_and_leaves_the_rest() {
        let networks = Arc::new(Networks::new(160));
        let first = admitted(&networks, |_| "203.0.113.9".to_owned());
        assert_eq!(first.len(), 10);
        let mapped = admitted(&networks, |_| "::ffff:203.0.113.9".to_owned());
        assert_eq!(mapped.len(), 0, "the same one");
        let other = admitted(&networks, |_| "203.0.113.10".to_owned());
        assert_eq!(other.len(), 10);
        let v6 = admitted(&networks, |n| format!("2001:db8:1:{n:x}::{n:x}"));
        assert_eq!(v6.len(), 10, "all addresses of one IPv6 network");
        drop(first);
        assert_eq!(admitted(&networks, |_| "203.0.113.9".to_owned()).len(), 10);
    }

    #[test]
    fn a_proxy_may_hold_nearly_all() {
        for address in ["10.0.0.7", "127.0.0.1", "::1", "fd00::1", "100.64.0.1"] {
            let networks = Arc::new(Networks::new(160));
            let held = admitted(&networks, |_| address.to_owned());
            assert_eq!(held.len(), 144, "{address}");
            assert!(networks.admit("192.0.2.1".parse().unwrap()).is_some());
        }
    }

    #[test]
    fn what_is_closed_is_forgotten() {
        let networks = Arc::new(Networks::new(160));
        drop(admitted(&networks, |n| format!("2001:db8:{n:x}::1")));
        assert!(networks.open.lock().unwrap().is_empty());
    }
}
