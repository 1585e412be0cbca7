//! The limits of a listener.

use std::time::Duration;

/// The limits of a listener.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// The listener in logs and metrics: `public`, `internal`.
    pub name: &'static str,
    /// Connections at a time. Further ones wait in the kernel's queue until one ends. A single
    /// network holds a sixteenth of them at most, or nine tenths if it is not of the Internet.
    pub max_connections: usize,
    /// How long a request's head may take, and how long a connection may idle between requests.
    pub header_read_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Header fields in one request.
    pub max_headers: usize,
    /// Bytes of a request's head: request line and header fields.
    pub max_header_bytes: usize,
    /// How long running requests may go on after shutdown was requested.
    pub drain_timeout: Duration,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            name: "public",
            max_connections: 10_000,
            header_read_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            max_headers: 100,
            max_header_bytes: 32 * 1024,
            drain_timeout: Duration::from_secs(30),
        }
    }
}
