//! The public router as apps and browsers see it, on SQLite, with stand-ins for everything that
//! would need a PDS. Whole sign-ins through a PDS are stories of the `aip` crate.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

mod support;

mod account;
mod authorize;
mod callback;
mod client_auth;
mod consent;
mod discovery;
mod hostile;
mod internal;
mod limits;
mod log;
mod logout;
mod pages;
mod resources;
mod surface;
