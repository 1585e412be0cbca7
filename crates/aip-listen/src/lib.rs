//! The accept loop: HTTP/1.1 over TCP or TLS, for any tower service.
//!
//! What a framework's `serve` leaves out is here: a cap on connections, a time limit for request
//! heads, limits on headers, answers that arrive although the request was not read to its end, TLS
//! whose certificate is reloaded when its files change, and a [`Server::run`] that ends by draining.
//! [`Lifecycle`] ties the listeners of a process to its signals.

mod config;
mod connection;
mod lifecycle;
mod networks;
mod request_body;
mod server;
mod signals;
mod tls;

pub use config::ListenConfig;
pub use connection::HttpService;
pub use lifecycle::{Lifecycle, Stage};
pub use request_body::RequestBody;
pub use server::{BindError, Drained, Server};
pub use signals::{Signal, SignalHooks, Signals};
pub use tls::{Tls, TlsError, TlsFiles};
