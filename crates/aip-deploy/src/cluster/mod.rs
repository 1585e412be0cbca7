//! Talking to an API server. Everything public here needs a [`GuardedCluster`](crate::guard): there
//! is no way to reach a cluster that was not checked.

mod connect;
mod credentials;
mod error;
mod objects;
mod observe;
mod proxy;
mod refusal;
mod request;
mod rights;

pub use connect::{Access, ConnectError, Connection, connect};
pub use error::ApiError;
pub use objects::DeleteOutcome;
pub use observe::ObservedNamespace;
pub(crate) use observe::namespace;
pub(crate) use request::send;
