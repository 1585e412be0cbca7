//! The test bed's own tests: what other suites rely on when they call something a failure of AIP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a surprise is a failure"
)]

mod aip;
mod control_plane;
mod faults;
mod jobs;
mod pods;
mod rollout;
mod test_namespace;
