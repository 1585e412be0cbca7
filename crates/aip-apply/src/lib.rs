//! Brings a cluster to what a stack desires: plan, apply, rollout, and the state that is kept of it.
//! It reports to its caller and never prints; it knows neither colours nor the look of a plan.
//!
//! | module | what | I/O |
//! | --- | --- | --- |
//! | [`store`] | inventory, history and lease of a stack, in a folder or bucket | store |
//! | [`registry`] | which digest the tag of an image means; pushes an image | registry |
//! | [`cluster`] | the guarded connection to the cluster of a stack: reads, dry runs, writes | cluster |
//! | [`plan`] | live objects compared with a dry run | none |
//! | [`observe`] | asks the cluster what an apply would do | cluster |
//! | [`rollout`] | a Deployment down to its containers, and a Job, with a verdict | cluster |
//! | [`apply`] | intent, phases, waiting, pruning | cluster, store |
//! | [`error_text`] | messages of other libraries' errors, without secrets | none |
//! | [`time`] | times as documents hold them | none |
//!
//! Each module uses only those above it.

pub mod apply;
pub mod cluster;
pub mod error_text;
mod field_manager;
pub mod observe;
pub mod plan;
pub mod registry;
pub mod rollout;
pub mod run_once;
pub mod store;
pub mod time;
