//! The public router as apps and browsers see it, on SQLite and without a network: headers, methods,
//! limits, and what is refused before anybody is signed in. Whatever needs a person who signs in, a
//! consent or a token is a story of the `aip` crate.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

mod support;

mod authorize;
mod base_path;
mod client_auth;
mod discovery;
mod hostile;
mod internal;
mod limits;
mod log;
mod pages;
mod public_paths;
mod resources;
mod surface;
