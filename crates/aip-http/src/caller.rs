//! Who calls: the address at the other end, or the one that a trusted proxy saw there.
//!
//! A forwarding header counts only from a proxy that the operator named, and of its entries only
//! the rightmost that no such proxy wrote about another: everything left of it is the caller's own
//! word. The operator also names the one header that the proxies write; any other one passes them
//! as the caller sent it, and does not count.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use aip_base::PeerAddr;
use http::header::{FORWARDED, HeaderName};
use http::{Extensions, HeaderMap};
use ipnet::{IpNet, Ipv6Net};

/// What most proxies write: a list of addresses.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many bits of an IPv6 address name the network of one household or server.
const IPV6_NETWORK: u8 = 64;

/// The proxies whose word on the caller's address counts.
#[derive(Debug)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// The header in which they tell it.
    header: HeaderName,
    /// Whether it was said in the log that a proxy is not trusted.
    warned: AtomicBool,
}

/// Where a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller(IpAddr);

impl TrustedProxies {
    /// The proxies in these networks, which tell whom they serve in `header`: `Forwarded`
    /// (RFC 7239), or another one with an address or a list of them.
    pub fn new(networks: Vec<IpNet>, header: HeaderName) -> Self {
        Self {
            networks,
            header,
            warned: AtomicBool::new(false),
        }
    }

    /// Warns, once, of a proxy in a private network that says whom it serves and is not trusted:
    /// all its callers count as one, and one of them can use up the limits of all.
    pub(crate) fn warn_of_untrusted_proxy(&self, extensions: &Extensions, headers: &HeaderMap) {
        let says = [&self.header, &X_FORWARDED_FOR, &FORWARDED];
        if self.warned.load(Ordering::Relaxed) || !says.iter().any(|it| headers.contains_key(*it)) {
            return;
        }
        let Some(peer) = extensions.get::<PeerAddr>() else {
            return;
        };
        let address = peer.0.ip().to_canonical();
        if Caller(address).is_public() || self.contain(address) {
            return;
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                peer = %address,
                "forwarded header from an untrusted proxy: rate limits count all its callers \
                 as one; if it is yours, name its network in server.trusted_proxies \
                 (AIP_TRUSTED_PROXIES)"
            );
        }
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Where a request with that head comes from.
    pub(crate) fn caller(&self, extensions: &Extensions, headers: &HeaderMap) -> Caller {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer: Option<&PeerAddr> = extensions.get();
        let mut address = peer.map_or(unspecified, |peer| peer.0.ip().to_canonical());
        let mut hops = self.hops(headers).into_iter().rev();
        while self.contain(address) {
            // A proxy that does not say whom it serves stands for the caller itself.
            let Some(Some(hop)) = hops.next() else { break };
            address = hop;
        }
        Caller(address)
    }

    /// The addresses that the header names, the nearest one last; `None` for what is no address.
    fn hops(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let read = if self.header == FORWARDED {
            forwarded_for
        } else {
            address
        };
        list(headers, &self.header).into_iter().map(read).collect()
    }
}

impl Default for TrustedProxies {
    fn default() -> Self {
        Self::new(Vec::new(), X_FORWARDED_FOR)
    }
}

impl Caller {
    /// The name of the network that the caller is counted under: an IPv4 address, or an IPv6
    /// network, of which anybody can have all addresses.
    pub(crate) fn network(self) -> String {
        match self.0 {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => match Ipv6Net::new(address, IPV6_NETWORK) {
                Ok(network) => network.trunc().to_string(),
                Err(_) => address.to_string(),
            },
        }
    }

    /// Whether it is an address of the Internet. Another one is most often a proxy or a gateway,
    /// and stands for everybody behind it.
    pub(crate) fn is_public(self) -> bool {
        match self.0 {
            IpAddr::V4(it) => {
                let [first, second, ..] = it.octets();
                let shared = first == 100 && (64..128).contains(&second);
                let own = it.is_private() || it.is_loopback() || it.is_link_local();
                !(own || shared || it.is_unspecified())
            }
            IpAddr::V6(it) => {
                let own = it.is_loopback() || it.is_unique_local() || it.is_unicast_link_local();
                !(own || it.is_unspecified())
            }
        }
    }
}

/// The members of a header that is a list.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter();
    let lines = lines.map(|line| line.to_str().unwrap_or_default());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect()
}

/// The `for` of a forwarded element (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        let value = name.eq_ignore_ascii_case("for").then_some(value)?;
        address(value.trim_matches('"'))
    })
}

/// An address, perhaps with a port, an IPv6 one perhaps in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let alone = bare.unwrap_or(text).parse::<IpAddr>().ok();
    let address = alone.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded() -> HeaderName {
        FORWARDED
    }

    /// Who calls when `peer` sends `headers` and proxies are in `10.0.0.0/8` and `fd00::/8`.
    fn caller(header: HeaderName, peer: &str, headers: &[(&'static str, &str)]) -> IpAddr {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|it| it.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddr(SocketAddr::new(peer.parse().unwrap(), 4711)));
        TrustedProxies::new(networks.to_vec(), header)
            .caller(&extensions, &map)
            .0
    }

    /// With proxies that write the header in question.
    #[track_caller]
    fn assert_caller(peer: &str, headers: &[(&'static str, &str)], expected: &str) {
        let header = match headers.first() {
            Some(&("forwarded", _)) => forwarded(),
            _ => X_FORWARDED_FOR,
        };
        let found = caller(header, peer, headers).to_string();
        assert_eq!(found, expected, "{headers:?}");
    }

    #[test]
    fn the_header_of_a_stranger_is_ignored() {
        let stranger = "203.0.113.9";
        assert_caller(stranger, &[("x-forwarded-for", "192.0.2.1")], stranger);
        assert_caller(stranger, &[("forwarded", "for=192.0.2.1")], stranger);
        assert_caller("::ffff:203.0.113.9", &[], stranger);
    }

    #[test]
    fn behind_proxies_the_rightmost_address_that_is_no_proxy_counts() {
        let proxy = "10.0.0.1";
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
            ("192.0.2.1, 10.1.1.1,10.2.2.2", "192.0.2.1"),
            ("192.0.2.1:5123", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            // Everybody is a proxy: the outermost of them.
            ("10.1.1.1", "10.1.1.1"),
            // What is no address stands for the proxy that passed it on.
            ("unknown", "10.0.0.1"),
            ("192.0.2.1, , 10.3.3.3", "10.3.3.3"),
            ("", "10.0.0.1"),
        ] {
            assert_caller(proxy, &[("x-forwarded-for", value)], expected);
        }
        assert_caller(proxy, &[], proxy);
        assert_caller("fd00::1", &[("x-forwarded-for", "192.0.2.1")], "192.0.2.1");
        let two = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_caller(proxy, &two, "192.0.2.1");
    }

    #[test]
    fn the_standard_header_says_the_same() {
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("for=6.6.6.6, for=192.0.2.1;proto=https", "192.0.2.1"),
            ("proto=https;For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            ("for=192.0.2.1, for=10.3.3.3", "192.0.2.1"),
            ("for=\"_hidden\"", "10.0.0.1"),
            ("by=192.0.2.1", "10.0.0.1"),
            ("for=\"6.6.6.6, for=192.0.2.1", "192.0.2.1"),
        ] {
            assert_caller("10.0.0.1", &[("forwarded", value)], expected);
        }
    }

    #[test]
    fn only_the_header_that_the_operator_named_counts() {
        let sent = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.2"),
            ("cf-connecting-ip", "192.0.2.3"),
            ("x-real-ip", "192.0.2.4"),
        ];
        let proxy = "10.0.0.1";
        for (header, expected) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "192.0.2.2"),
            ("cf-connecting-ip", "192.0.2.3"),
            ("x-real-ip", "192.0.2.4"),
            ("true-client-ip", proxy),
        ] {
            let header = HeaderName::from_static(header);
            let found = caller(header, proxy, &sent).to_string();
            assert_eq!(found, expected);
        }
        // Each alone: a header that passed the proxy is the caller's own word.
        for one in &sent[1..] {
            assert_eq!(caller(X_FORWARDED_FOR, proxy, &[*one]).to_string(), proxy);
        }
        assert_eq!(caller(forwarded(), proxy, &sent[..1]).to_string(), proxy);
    }

    #[test]
    fn a_proxy_that_is_not_trusted_is_noticed() {
        let noticed = |peer: &str, networks: Vec<IpNet>, name: &'static str| {
            let proxies = TrustedProxies::new(networks, X_FORWARDED_FOR);
            let mut extensions = Extensions::new();
            extensions.insert(PeerAddr(SocketAddr::new(peer.parse().unwrap(), 1)));
            let mut headers = HeaderMap::new();
            headers.insert(name, "192.0.2.1".parse().unwrap());
            proxies.warn_of_untrusted_proxy(&extensions, &headers);
            proxies.warned.load(Ordering::Relaxed)
        };
        let own = || vec!["10.0.0.0/8".parse().unwrap()];
        assert!(noticed("10.0.0.1", vec![], "x-forwarded-for"));
        assert!(noticed("10.0.0.1", vec![], "forwarded"));
        assert!(noticed("172.16.0.1", own(), "x-forwarded-for"));
        assert!(!noticed("10.0.0.1", own(), "x-forwarded-for"));
        assert!(!noticed("203.0.113.9", vec![], "x-forwarded-for"));
        assert!(!noticed("10.0.0.1", vec![], "accept"));
    }

    #[test]
    fn an_ipv6_caller_is_counted_with_its_network() {
        let of = |address: &str| Caller(address.parse().unwrap()).network();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn an_address_that_is_not_of_the_internet_is_distinguished() {
        for (address, public) in [
            ("203.0.113.9", true),
            ("2001:db8::1", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("192.168.0.1", false),
            ("::1", false),
            ("fd12::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(
                Caller(address.parse().unwrap()).is_public(),
                public,
                "{address}"
            );
        }
    }
}
