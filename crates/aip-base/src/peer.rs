//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// The address at the other end of the connection, in the extensions of every request that a
/// listener hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);
