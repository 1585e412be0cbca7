//! Settings as an operator meets them: read, shown, refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a set-up step that fails ends the test"
)]

mod precedence;
mod refusals;
mod schema;
mod test_sources;
mod v1;
mod warnings;
