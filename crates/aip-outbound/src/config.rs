//! The settings of the outbound client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::host_limits::HostCapacity;

/// The settings of the outbound client.
#[derive(Debug, Clone)]
pub struct OutboundConfig {
    /// The `User-Agent` of requests that have none.
    pub user_agent: String,
    /// The time for a new connection: look-up, TCP and TLS together. Also how long a request
    /// waits for a free slot of its host.
    pub connect_timeout: Duration,
    /// PEM bundles whose certificates are trusted besides the system's.
    pub extra_ca_pem: Vec<Vec<u8>>,
    /// Ports that are allowed besides 443.
    pub extra_ports: Vec<u16>,
    /// Requests in flight to one host at a time.
    pub capacity: HostCapacity,
    /// Name servers to ask instead of the system's.
    pub nameservers: Vec<SocketAddr>,
    /// Exceptions for development and tests; `None` in production.
    pub development: Option<Development>,
}

/// Exceptions from the guard, all off unless asked for.
#[derive(Debug, Clone, Default)]
pub struct Development {
    /// Host names that are allowed on any port, with http or https, and always dialled at the
    /// given address, whatever DNS says. Port 0 stands for the port of the URL.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// Whether `localhost`, `127.0.0.1` and `[::1]` may be asked, on any port, also over http.
    pub allow_loopback: bool,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("aip/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            extra_ca_pem: Vec::new(),
            extra_ports: Vec::new(),
            capacity: HostCapacity {
                own: 256,
                callers: 256,
                client: 128,
                account: 32,
            },
            nameservers: Vec::new(),
            development: None,
        }
    }
}

/// Why the outbound client cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum OutboundConfigError {
    /// A CA bundle has something other than PEM certificates in it.
    #[error("CA bundle number {number} is not usable: {reason}")]
    CaBundle {
        /// Which bundle, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing to verify servers with.
    #[error(
        "no trusted root certificate was found: install the system's CA certificates or configure a CA bundle"
    )]
    NoRoots,
    /// The TLS library refuses its own defaults.
    #[error("TLS set-up failed: {0}")]
    Tls(#[from] rustls::Error),
    /// The system's resolver configuration cannot be read.
    #[error("DNS set-up failed: {0}; name servers can be configured instead")]
    Dns(String),
}
