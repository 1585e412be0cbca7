//! Settings as an operator meets them: read, shown, refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a set-up step that fails ends the test"
)]

mod precedence;
mod refusals;
mod said;
mod schema;
mod warnings;
