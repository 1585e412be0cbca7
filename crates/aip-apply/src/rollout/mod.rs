//! A rollout seen whole: Deployment → `ReplicaSet`s → Pods → containers, with reasons, and a
//! verdict as early as one can be given; and what controllers report of routes and the like.
//!
//! [`model`], [`status`], [`dependency`] and [`verdict`] are pure; `follow` feeds them by the table of kinds in `awaited`.

mod awaited;
mod cache;
pub mod dependency;
mod events;
mod follow;
pub mod model;
pub mod pod_view;
pub mod pull;
pub mod status;
pub mod verdict;

#[cfg(test)]
mod causes_tests;

pub use awaited::{AwaitedKind, AwaitedView};
pub use follow::{FollowError, FollowOutcome, Followed, Following};
pub use model::Rollout;
pub use verdict::{Failure, Pending, Verdict, judge, judge_job};
