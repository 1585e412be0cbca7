//! What commands do with a cluster beyond one call: plan, ask, take the lease, apply, record.

pub mod deploy;
pub mod destroy;
mod lease;
mod operation;
pub mod plan;
mod record;

pub use deploy::Deployment;
pub use operation::Operation;
