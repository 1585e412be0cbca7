//! A rollout seen whole: Deployment → `ReplicaSet`s → Pods → containers, with reasons, and a
//! verdict as early as one can be given.
//!
//! [`model`], [`verdict`] and [`render`] are pure; [`watch`] and [`job`] feed them.

mod cache;
mod events;
pub mod job;
pub mod model;
pub mod pod_view;
pub mod pull;
pub mod render;
pub mod verdict;
pub mod watch;

#[cfg(test)]
mod causes;
#[cfg(test)]
mod tests;

pub use job::follow_job;
pub use model::Rollout;
pub use verdict::{Failure, Pending, Verdict, judge, judge_job};
pub use watch::{FollowError, FollowOutcome, follow};
