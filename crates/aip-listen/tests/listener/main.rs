//! A listener on loopback as clients meet it: ordinary, slow, hostile, and during a shutdown.

mod client;
mod drain;
mod limits;
mod server;
mod tls;
