//! Forwarding XRPC (<https://atproto.com/specs/xrpc>) from apps to the account's PDS.
//!
//! [`permit`] judges a call by the app's token before anything leaves, [`headers`] says what
//! crosses, [`Forwarder`] signs and streams. The PDS comes from the verified DID document alone;
//! nothing in a request chooses the host.

pub mod forward;
pub mod headers;
mod methods;
pub mod permit;
pub mod quota;
mod session;
mod verdict;
pub mod writes;

pub use forward::{ForwardError, Forwarder, XrpcCall};
