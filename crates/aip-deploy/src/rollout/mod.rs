//! A rollout seen whole: Deployment → `ReplicaSet`s → Pods → containers, with reasons, and a
//! verdict as early as one can be given.
//!
//! [`model`], [`verdict`] and [`render`] are pure; [`watch`] and [`job`] feed them.

mod cache;
pub mod job;
pub mod model;
pub mod render;
pub mod verdict;
pub mod watch;

#[cfg(test)]
mod tests;

pub use job::follow_job;
pub use model::Rollout;
pub use verdict::{Failure, Verdict, judge};
pub use watch::{Ended, FollowError, follow};
