//! Operating AIP: the built program as a process, under signals, with bad surroundings, and in the
//! hands of the commands that look after it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a surprise is a failure"
)]

mod backup;
mod clients;
mod command;
mod contents;
mod database_away;
mod doctor;
mod healthcheck;
mod importing;
mod keys;
mod messages;
mod refusals;
mod rekeying;
mod reloading;
mod server;
mod sessions;
mod stopping;
mod tokens;
