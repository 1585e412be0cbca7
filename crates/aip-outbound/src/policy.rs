//! What may be asked: the guard's decision about a URL, before any look-up. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quick_cache::sync::Cache;
use url::{Host, Url};

use crate::Development;

/// Top-level names that never lead to a public server (RFC 6761, RFC 6762, RFC 8375, RFC 9476,
/// and the ones home routers invent).
const LOCAL_TLDS: &[&str] = &[
    "alt",
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "test",
];

/// What the guard allows.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Ports that are allowed besides 443.
    pub extra_ports: Vec<u16>,
    /// Exceptions for development; `None` in production.
    pub development: Option<Development>,
}

/// A URL that the guard let through, reduced to where to connect. Only [`check_url`] makes one,
/// and the connector takes nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedUrl {
    host: String,
    port: u16,
    route: Route,
}

/// How the address of a checked URL is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// By DNS, public addresses only.
    Resolve,
    /// By the development settings.
    Fixed(SocketAddr),
}

/// Why the guard refuses a URL or a host. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardRefusal {
    /// Not a URL with a host at all.
    #[error("this is not a URL with a host name")]
    NotAUrl,
    /// Another scheme than https.
    #[error("`{0}` URLs are not allowed, only https")]
    Scheme(String),
    /// A user name or password in the URL.
    #[error("credentials in a URL are not allowed")]
    Credentials,
    /// An address instead of a name, in whatever notation.
    #[error("the address {0} instead of a host name is not allowed")]
    IpLiteral(IpAddr),
    /// A name that can only be local.
    #[error("`{0}` is a local name")]
    LocalName(String),
    /// The host is not written in its canonical form, so two parsers could disagree about it.
    #[error("the host name is not in canonical form")]
    HostNotCanonical,
    /// A port that is not allowed.
    #[error("port {0} is not allowed")]
    Port(u16),
    /// The name exists, but none of its addresses is public.
    #[error("`{0}` has no public address")]
    NoPublicAddress(String),
}

impl CheckedUrl {
    /// The host name, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn route(&self) -> Route {
        self.route
    }
}

/// Decides whether `url` may be asked under `policy`.
pub fn check_url(url: &Url, policy: &Policy) -> Result<CheckedUrl, GuardRefusal> {
    let host = url.host().ok_or(GuardRefusal::NotAUrl)?;
    let port = url.port_or_known_default().ok_or(GuardRefusal::NotAUrl)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(GuardRefusal::Credentials);
    }
    if let Some(address) = policy
        .development
        .as_ref()
        .and_then(|d| d.exception(&host, port))
        && matches!(url.scheme(), "http" | "https")
    {
        return Ok(CheckedUrl {
            host: host.to_string(),
            port,
            route: Route::Fixed(address),
        });
    }
    if url.scheme() != "https" {
        return Err(GuardRefusal::Scheme(url.scheme().to_owned()));
    }
    let name = match host {
        Host::Domain(name) => name,
        Host::Ipv4(address) => return Err(GuardRefusal::IpLiteral(address.into())),
        Host::Ipv6(address) => return Err(GuardRefusal::IpLiteral(address.into())),
    };
    if name.ends_with('.') {
        return Err(GuardRefusal::HostNotCanonical);
    }
    match name.rsplit_once('.') {
        Some((_, tld)) if !LOCAL_TLDS.contains(&tld) => {}
        _ => return Err(GuardRefusal::LocalName(name.to_owned())),
    }
    if port != 443 && !policy.extra_ports.contains(&port) {
        return Err(GuardRefusal::Port(port));
    }
    Ok(CheckedUrl {
        host: name.to_owned(),
        port,
        route: Route::Resolve,
    })
}

/// Where a request goes, as the guard let it through.
#[derive(Debug)]
pub(crate) struct CheckedTarget {
    /// The host name, in lower case.
    pub(crate) name: String,
    /// The name and the port: what limits are counted by.
    pub(crate) host: Arc<str>,
}

/// How many targets are remembered.
const MAX_TARGETS: usize = 4096;
/// The longest that is: scheme, a name of 253 characters (RFC 1035 §2.3.4) and a port.
const MAX_TARGET_BYTES: usize = 270;

/// The guard's decisions about the targets of requests. They depend on scheme and authority alone, so
/// those that let a request through are remembered by these.
pub(crate) struct CheckedTargets {
    policy: Arc<Policy>,
    known: Cache<String, Arc<CheckedTarget>>,
}

impl CheckedTargets {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            known: Cache::new(MAX_TARGETS),
        }
    }

    /// Decides about a request with that URI, as [`check_uri`] does.
    pub(crate) fn check(&self, uri: &http::Uri) -> Result<Arc<CheckedTarget>, GuardRefusal> {
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |it| it.as_str());
        let key = [scheme, "://", authority].concat();
        if let Some(known) = self.known.get(&key) {
            return Ok(known);
        }
        let checked = check_uri(uri, &self.policy)?;
        let target = Arc::new(CheckedTarget {
            host: format!("{}:{}", checked.host(), checked.port()).into(),
            name: checked.host,
        });
        if key.len() <= MAX_TARGET_BYTES {
            self.known.insert(key, Arc::clone(&target));
        }
        Ok(target)
    }
}

/// [`check_url`] for the URI of a request. The two types parse differently; a host that they do
/// not read alike is refused.
pub(crate) fn check_uri(uri: &http::Uri, policy: &Policy) -> Result<CheckedUrl, GuardRefusal> {
    let url = Url::parse(&uri.to_string()).map_err(|_| GuardRefusal::NotAUrl)?;
    let same_host = uri.host().is_some_and(|host| url.host_str() == Some(host));
    if same_host {
        check_url(&url, policy)
    } else {
        Err(GuardRefusal::HostNotCanonical)
    }
}

impl Development {
    /// The address to dial for `host`, when it is one of the exceptions.
    fn exception(&self, host: &Host<&str>, port: u16) -> Option<SocketAddr> {
        let loopback = match host {
            Host::Domain("localhost") | Host::Ipv4(Ipv4Addr::LOCALHOST) => {
                Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
            Host::Ipv6(Ipv6Addr::LOCALHOST) => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            _ => None,
        };
        if let Some(address) = self.hosts.get(&host.to_string()) {
            let port = match address.port() {
                0 => port,
                fixed => fixed,
            };
            return Some(SocketAddr::new(address.ip(), port));
        }
        loopback
            .filter(|_| self.allow_loopback)
            .map(|ip| SocketAddr::new(ip, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(url: &str, policy: &Policy) -> Result<CheckedUrl, GuardRefusal> {
        check_url(&Url::parse(url).unwrap(), policy)
    }

    fn for_development() -> Policy {
        let hosts = [("pds.test", "127.0.0.1:2583"), ("plc.test", "127.0.0.1:0")]
            .map(|(name, address)| (name.to_owned(), address.parse().unwrap()))
            .into();
        Policy {
            extra_ports: vec![],
            development: Some(Development {
                hosts,
                allow_loopback: true,
            }),
        }
    }

    #[test]
    fn hostile_urls_are_refused_before_any_look_up() {
        use GuardRefusal as R;
        let ip = |text: &str| R::IpLiteral(text.parse().unwrap());
        let local = |text: &str| R::LocalName(text.to_owned());
        for (url, refusal) in [
            ("http://pds.org/", R::Scheme("http".into())),
            ("ftp://pds.org/", R::Scheme("ftp".into())),
            ("file:///etc/passwd", R::NotAUrl),
            ("data:text/plain,x", R::NotAUrl),
            ("https://user@pds.org/", R::Credentials),
            ("https://user:pw@pds.org/", R::Credentials),
            ("https://127.0.0.1/", ip("127.0.0.1")),
            ("https://8.8.8.8/", ip("8.8.8.8")),
            ("https://2130706433/", ip("127.0.0.1")),
            ("https://0x7f.1/", ip("127.0.0.1")),
            ("https://0177.0.0.1/", ip("127.0.0.1")),
            ("https://127.1/", ip("127.0.0.1")),
            ("https://[::1]/", ip("::1")),
            ("https://[::ffff:127.0.0.1]/", ip("::ffff:127.0.0.1")),
            ("https://localhost/", local("localhost")),
            ("https://LOCALHOST/", local("localhost")),
            ("https://pds.localhost/", local("pds.localhost")),
            ("https://printer.local/", local("printer.local")),
            (
                "https://metadata.google.internal/",
                local("metadata.google.internal"),
            ),
            ("https://router.home.arpa/", local("router.home.arpa")),
            ("https://pds.test/", local("pds.test")),
            ("https://kubernetes/", local("kubernetes")),
            ("https://pds.org./", R::HostNotCanonical),
            ("https://pds.org:22/", R::Port(22)),
            ("https://pds.org:8443/", R::Port(8443)),
        ] {
            assert_eq!(decide(url, &Policy::default()), Err(refusal), "{url}");
        }
    }

    #[test]
    fn https_on_allowed_ports_of_named_hosts_passes() {
        let policy = Policy {
            extra_ports: vec![8443],
            development: None,
        };
        for url in [
            "https://pds.org/x?y",
            "https://pds.org:443/",
            "https://pds.org:8443/",
        ] {
            let checked = decide(url, &policy).unwrap();
            assert_eq!(
                (checked.host(), checked.route()),
                ("pds.org", Route::Resolve),
                "{url}"
            );
        }
    }

    #[test]
    fn development_allows_loopback_and_the_listed_hosts_and_nothing_else() {
        let policy = for_development();
        for (url, address) in [
            ("http://localhost:2582/did", "127.0.0.1:2582"),
            ("http://127.0.0.1:9/", "127.0.0.1:9"),
            ("http://[::1]:9/", "[::1]:9"),
            ("https://pds.test/", "127.0.0.1:2583"),
            ("http://pds.test:1234/", "127.0.0.1:2583"),
            ("http://plc.test:1234/", "127.0.0.1:1234"),
        ] {
            let expected = Route::Fixed(address.parse().unwrap());
            assert_eq!(decide(url, &policy).unwrap().route(), expected, "{url}");
        }
        for url in [
            "http://127.0.0.2/",
            "http://10.0.0.1/",
            "https://other.test/",
            "http://pds.org/",
        ] {
            assert!(decide(url, &policy).is_err(), "{url}");
        }
        let user = decide("http://user@localhost:1/", &policy);
        assert_eq!(user, Err(GuardRefusal::Credentials));
    }

    #[test]
    fn loopback_is_open_only_where_it_is_listed_if_it_is_not_open_as_a_whole() {
        let hosts = ["pds.test", "127.0.0.1", "[::1]"]
            .map(|name| (name.to_owned(), "127.0.0.1:2583".parse().unwrap()));
        let listed = |count: usize| Policy {
            extra_ports: vec![],
            development: Some(Development {
                hosts: hosts.iter().take(count).cloned().collect(),
                allow_loopback: false,
            }),
        };
        let one = listed(1);
        assert!(decide("http://pds.test/", &one).is_ok());
        for url in [
            "http://localhost:6379/",
            "https://localhost/",
            "http://127.0.0.1:2583/",
            "https://127.0.0.1/",
            "http://[::1]/",
        ] {
            assert!(decide(url, &one).is_err(), "{url}");
        }
        let all = listed(3);
        for url in ["http://127.0.0.1:9/", "http://[::1]:9/"] {
            let expected = Route::Fixed("127.0.0.1:2583".parse().unwrap());
            assert_eq!(decide(url, &all).unwrap().route(), expected, "{url}");
        }
        assert!(decide("http://localhost/", &all).is_err());
    }

    #[test]
    fn what_was_let_through_opens_nothing_else() {
        let targets = CheckedTargets::new(Arc::new(Policy::default()));
        let check = |uri: &str| targets.check(&uri.parse().unwrap());
        for uri in ["https://pds.org/xrpc/a?b", "https://pds.org/other"] {
            let target = check(uri).unwrap();
            assert_eq!((&*target.name, &*target.host), ("pds.org", "pds.org:443"));
        }
        for uri in [
            "http://pds.org/",
            "https://PDS.org/",
            "https://user@pds.org/",
            "https://pds.org:8443/",
            "https://pds.org./",
            "https://10.0.0.1/",
            "/xrpc/a",
        ] {
            assert!(check(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_host_that_two_parsers_read_differently_is_refused() {
        for uri in ["https://PDS.org/", "https://0x7f000001/"] {
            let refusal = check_uri(&uri.parse().unwrap(), &Policy::default());
            assert_eq!(refusal, Err(GuardRefusal::HostNotCanonical), "{uri}");
        }
    }
}
