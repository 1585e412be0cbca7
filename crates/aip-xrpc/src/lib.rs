//! Forwarding XRPC (<https://atproto.com/specs/xrpc>) from apps to the account's PDS.
//!
//! [`permit`] judges a call by the app's token before anything leaves, [`headers`] says what
//! crosses, [`Forwarder`] judges, counts and answers, `session_choice` says with which session, `send` signs and
//! streams. The PDS comes from the verified DID document alone;
//! nothing in a request chooses the host.

mod error;
pub mod forward;
pub mod headers;
mod methods;
mod permission_sets;
pub mod permit;
pub mod quota;
mod send;
pub mod service_token;
mod session;
mod session_choice;
mod verdict;
pub mod writes;

pub use error::ForwardError;
pub use forward::{Forwarder, XrpcCall};
pub use session_choice::Sessions;
