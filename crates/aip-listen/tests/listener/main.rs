//! A listener on loopback as clients meet it: ordinary, slow, hostile, and during a shutdown.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a set-up step that fails ends the test"
)]

mod client;
mod drain;
mod early_answers;
mod limits;
mod server;
mod tls;
