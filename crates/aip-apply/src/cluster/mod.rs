//! Talking to an API server. Everything here needs a [`GuardedCluster`]: there is no way to reach a
//! cluster that was not checked.

mod connect;
mod credentials;
mod error;
mod guard;
mod objects;
mod proxy;
mod request;
mod resource;
mod rights;

pub use connect::{Access, ConnectError};
pub use error::ApiError;
pub use guard::{GuardError, GuardedCluster, PinnedCluster};
pub use objects::DeleteOutcome;
pub(crate) use request::Answer;
pub use resource::guess_plural;
