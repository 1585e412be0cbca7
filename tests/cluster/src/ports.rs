//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use aip_base::{Rng, SystemRng};

/// Below the range that the kernel gives to outgoing connections, so that none of them takes the
/// port before its server listens.
const FIRST_PORT: u16 = 20_000;
const PORT_COUNT: u16 = 12_000;

/// A port nobody listens on now. Somebody may before it is used: whoever starts a server tries
/// again with another.
pub(crate) fn free() -> u16 {
    let candidates = std::iter::repeat_with(|| {
        let mut bytes = [0; 2];
        SystemRng.fill(&mut bytes);
        FIRST_PORT + u16::from_ne_bytes(bytes) % PORT_COUNT
    });
    candidates
        .take(1_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("loopback has a free port")
}
