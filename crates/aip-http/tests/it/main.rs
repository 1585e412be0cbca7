//! The public router as apps and browsers see it, on SQLite, with stand-ins for everything that
//! would need a PDS. Whole sign-ins through a PDS are stories of the `aip` crate.

mod support;

mod account;
mod authorize;
mod callback;
mod client_auth;
mod codes;
mod consent;
mod discovery;
mod dpop;
mod hostile;
mod pages;
mod refresh;
mod resources;
mod surface;
mod token_management;
