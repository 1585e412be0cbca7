//! What tests of several crates share. A development dependency only.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is test code: what fails here fails the test"
)]

pub mod clock;
pub mod collectors;
pub mod logs;
pub mod postgres;
pub mod rng;
pub mod shared_state;
pub mod valkey;
