//! Which proxy leads to a cluster: `proxy-url` of the kubeconfig, else the variables that all tools
//! of an operator share, read as kubectl reads them.
//!
//! The rules for the variables are those of Go's `golang.org/x/net/http/httpproxy`: `NO_PROXY` is
//! judged by the cluster's address, and what is on this machine is never reached through a proxy.

use std::net::IpAddr;

use aip_base::Environment;
use http::Uri;
use ipnet::IpNet;
use url::Url;

/// A proxy on the way to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// HTTP or SOCKS5.
    pub(super) kind: Kind,
    /// Where it is; without the credentials.
    pub(super) address: Uri,
    /// The user and password of its URL.
    pub(super) user: Option<(String, String)>,
}

/// Proxy protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `CONNECT`, RFC 9110 section 9.3.6.
    Http,
    /// RFC 1928; the proxy looks names up.
    Socks5,
}

/// Why a proxy cannot be used. No message repeats its credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("the proxy in {origin} is not a URL such as http://proxy.example:3128")]
    NotAUrl { origin: &'static str },
    #[error("the proxy in {origin} uses {scheme}://; only http:// and socks5:// are supported")]
    Unsupported {
        origin: &'static str,
        scheme: String,
    },
}

/// The proxy on the way to `cluster`, if there is one. `configured` is `proxy-url`, which counts
/// whatever `NO_PROXY` says.
pub(super) fn proxy_for(
    cluster: &Uri,
    configured: Option<&str>,
    environment: &Environment,
) -> Result<Option<Proxy>, ProxyError> {
    if let Some(url) = configured.filter(|url| !url.is_empty()) {
        return Proxy::parse(url, "`proxy-url` of the kubeconfig").map(Some);
    }
    let names: [&'static str; 2] = match cluster.scheme_str() {
        Some("http") => ["HTTP_PROXY", "http_proxy"],
        _ => ["HTTPS_PROXY", "https_proxy"],
    };
    let set = |name: &'static str| Some((name, environment.non_empty(name)?));
    let Some((name, url)) = names.into_iter().find_map(set) else {
        return Ok(None);
    };
    let exceptions = environment
        .non_empty("NO_PROXY")
        .or_else(|| environment.non_empty("no_proxy"))
        .unwrap_or_default();
    if is_direct(cluster, exceptions) {
        Ok(None)
    } else {
        Proxy::parse(url, name).map(Some)
    }
}

impl Proxy {
    fn parse(text: &str, origin: &'static str) -> Result<Self, ProxyError> {
        let not_a_url = || ProxyError::NotAUrl { origin };
        // `proxy.example:3128` is what many machines have.
        let url = if text.contains("://") {
            Url::parse(text)
        } else {
            Url::parse(&format!("http://{text}"))
        };
        let url = url.map_err(|_| not_a_url())?;
        let (kind, default_port) = match url.scheme() {
            "http" => (Kind::Http, 80),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            scheme => {
                return Err(ProxyError::Unsupported {
                    origin,
                    scheme: scheme.to_owned(),
                });
            }
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(not_a_url)?;
        let port = url.port().unwrap_or(default_port);
        let scheme = if kind == Kind::Http { "http" } else { "socks5" };
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8_lossy()
                .into_owned()
        };
        let user = (!url.username().is_empty()).then(|| {
            (
                decoded(url.username()),
                decoded(url.password().unwrap_or_default()),
            )
        });
        Ok(Self {
            kind,
            address: format!("{scheme}://{host}:{port}")
                .parse()
                .map_err(|_| not_a_url())?,
            user,
        })
    }
}

/// Whether the cluster is reached without the proxy of the environment.
fn is_direct(cluster: &Uri, exceptions: &str) -> bool {
    let host = cluster.host().unwrap_or_default().to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let default_port = if cluster.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let port = cluster.port_u16().unwrap_or(default_port);
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    exceptions
        .split(',')
        .map(|entry| entry.trim().to_ascii_lowercase())
        .any(|entry| matches(&entry, host, address, port))
}

fn matches(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if entry.contains('/') {
        let network = entry.parse::<IpNet>();
        return network.is_ok_and(|network| address.is_some_and(|a| network.contains(&a)));
    }
    let (name, entry_port) = split_port(entry);
    if entry_port.is_some_and(|entry_port| entry_port != port.to_string()) {
        return false;
    }
    if let Ok(other) = name.parse::<IpAddr>() {
        return address == Some(other);
    }
    let name = name
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(name);
    if name.is_empty() {
        return false;
    }
    match name.strip_prefix('.') {
        // `.example.com` means what is below it, `example.com` itself too.
        Some(_) => host.ends_with(name),
        None => {
            host == name
                || host
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.ends_with('.'))
        }
    }
}

/// `host:port`, `[v6]:port`, `host`, `v6`.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some(rest) = entry.strip_prefix('[') {
        let (name, behind) = rest.split_once(']').unwrap_or((rest, ""));
        return (
            name,
            behind.strip_prefix(':').filter(|port| !port.is_empty()),
        );
    }
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, Some(port).filter(|p| !p.is_empty())),
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "http://proxy.example:3128";

    fn via(cluster: &str, variables: &[(&str, &str)]) -> Option<String> {
        let environment = Environment::new(variables.iter().copied());
        let proxy = proxy_for(&cluster.parse().unwrap(), None, &environment).unwrap();
        proxy.map(|proxy| proxy.address.to_string())
    }

    #[test]
    fn no_proxy_is_judged_by_the_address_of_the_cluster() {
        for (cluster, exceptions, direct) in [
            ("https://10.1.2.3:6443", "", false),
            ("https://10.1.2.3:6443", "*", true),
            ("https://10.1.2.3:6443", "a.example, *", true),
            ("https://10.1.2.3:6443", "10.1.2.3", true),
            ("https://10.1.2.3:6443", "10.1.2.4", false),
            ("https://10.1.2.3:6443", "10.0.0.0/8", true),
            ("https://10.1.2.3:6443", "10.2.0.0/16", false),
            ("https://10.1.2.3:6443", "10.1.2.3:6443", true),
            ("https://10.1.2.3:6443", "10.1.2.3:443", false),
            ("https://10.1.2.3:6443", "proxy.example", false),
            ("https://10.1.2.3:6443", ",, 10.1.2.3 ,nonsense/99", true),
            ("https://[2001:db8::1]:6443", "2001:db8::/32", true),
            ("https://[2001:db8::1]:6443", "[2001:db8::1]:6443", true),
            ("https://[2001:db8::1]:6443", "2001:db8::2", false),
            ("https://k8s.corp.example:6443", "corp.example", true),
            ("https://k8s.corp.example:6443", ".corp.example", true),
            ("https://k8s.corp.example:6443", "*.corp.example", true),
            ("https://k8s.corp.example:6443", "CORP.example:6443", true),
            ("https://k8s.corp.example", ".corp.example:443", true),
            ("https://k8s.corp.example:6443", ".corp.example:443", false),
            ("https://corp.example:6443", ".corp.example", false),
            ("https://corp.example:6443", "corp.example", true),
            ("https://notcorp.example:6443", "corp.example", false),
            ("https://k8s.corp.example:6443", "10.0.0.0/8", false),
            // What is on this machine is never reached through a proxy of the environment.
            ("https://127.0.0.1:6443", "", true),
            ("https://localhost:6443", "", true),
            ("https://[::1]:6443", "", true),
        ] {
            let found = via(cluster, &[("HTTPS_PROXY", PROXY), ("NO_PROXY", exceptions)]);
            assert_eq!(found.is_none(), direct, "{cluster} {exceptions:?}");
        }
    }

    #[test]
    fn variables_are_chosen_as_kubectl_chooses_them() {
        const CLUSTER: &str = "https://k8s.example:6443";
        let upper = ("HTTPS_PROXY", "http://upper.example:1");
        let lower = ("https_proxy", "http://lower.example:2");
        assert_eq!(
            via(CLUSTER, &[upper, lower]).as_deref(),
            Some("http://upper.example:1/")
        );
        assert_eq!(
            via(CLUSTER, &[lower]).as_deref(),
            Some("http://lower.example:2/")
        );
        assert_eq!(
            via(CLUSTER, &[("HTTP_PROXY", PROXY), ("HTTPS_PROXY", "")]),
            None
        );
        let plain = via(
            "http://k8s.example",
            &[("http_proxy", "plain.example:3128")],
        );
        assert_eq!(plain.as_deref(), Some("http://plain.example:3128/"));
        assert_eq!(via(CLUSTER, &[upper, ("no_proxy", "k8s.example")]), None);
    }

    #[test]
    fn the_kubeconfigs_proxy_counts_more_than_the_environment() {
        let environment = Environment::new([("HTTPS_PROXY", PROXY), ("NO_PROXY", "*")]);
        let cluster = "https://127.0.0.1:6443".parse().unwrap();
        let socks = "socks5h://us%40er:p%3Ass@socks.example";
        let proxy = proxy_for(&cluster, Some(socks), &environment);
        let proxy = proxy.unwrap().unwrap();
        assert_eq!(proxy.kind, Kind::Socks5);
        assert_eq!(proxy.address, "socks5://socks.example:1080");
        assert_eq!(proxy.user, Some(("us@er".to_owned(), "p:ss".to_owned())));
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_its_password() {
        let cluster = "https://k8s.example".parse().unwrap();
        for (url, expected) in [
            ("https://me:hunter2@proxy.example", "https://"),
            ("ftp://me:hunter2@proxy.example", "ftp://"),
            ("http://me:hunter2@", "not a URL"),
            ("http://me:hunter2@pro xy", "not a URL"),
        ] {
            let error = proxy_for(&cluster, Some(url), &Environment::default());
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
