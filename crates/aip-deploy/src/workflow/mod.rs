//! What commands do with a cluster beyond one call: plan, ask, take the lease, apply, record.

pub(crate) mod deploy;
pub(crate) mod destroy;
mod lease;
mod operation;
pub(crate) mod plan;
mod record;

pub(crate) use deploy::Deployment;
pub(crate) use lease::with_lease;
pub(crate) use operation::Operation;
