//! A rollout seen whole: Deployment → `ReplicaSet`s → Pods → containers, with reasons, and a
//! verdict as early as one can be given.
//!
//! [`model`] and [`verdict`] are pure; `follow` feeds them, one kind per file.

mod awaited;
mod cache;
mod deployment;
mod events;
mod follow;
mod job;
pub mod model;
pub mod pod_view;
pub mod pull;
pub mod verdict;

#[cfg(test)]
mod causes;

pub use awaited::{AwaitedKind, AwaitedView};
pub use follow::{FollowError, FollowOutcome, Following};
pub use model::Rollout;
pub use verdict::{Failure, Pending, Verdict, judge, judge_job};
