//! The one way out: HTTP and DNS towards other servers, guarded (server-side request forgery,
//! DNS rebinding, slow and endless answers).
//!
//! Every URL that a person, a DID document or a client can influence goes through [`Outbound`]:
//! https on allowed ports to named hosts, resolved once, connected to the very address that was
//! checked. No redirects, no proxies from the environment, no decompression; headers, time,
//! throughput and connections per host are bounded.
//!
//! Only what the operator's own settings name is reached without the guard, by [`OperatorHttp`] and
//! [`OperatorStreams`].
//!
//! Reading order: [`check_url`] (what may be asked), [`is_public`] (what may be dialled), the
//! connector (which needs both), then the client.

mod address;
mod body;
mod client;
mod config;
mod connector;
mod dns;
mod host_limits;
mod operator;
mod operator_streams;
mod policy;
mod tls;
mod upstream_span;

pub use address::is_public;
pub use client::Outbound;
pub use config::{Development, OutboundConfig, OutboundConfigError};
pub use dns::{Dns, Resolve};
pub use host_limits::HostCapacity;
pub use operator::OperatorHttp;
pub use operator_streams::{OperatorStream, OperatorStreams};
pub use policy::{CheckedUrl, GuardRefusal, Policy, check_url};
