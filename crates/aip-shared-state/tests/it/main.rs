//! The shared state against real servers: one contract on every implementation, and what happens
//! when a server dies, stalls, is wiped, or hands over to another one.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

mod contract;
mod nonces;
mod outage;
mod support;
mod three_servers;
mod topologies;
mod urls;
