//! `aip-deploy` as a process against a real API server, from the stack file to ready Pods.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a surprise is a failure"
)]

mod adoption;
mod autoscaling;
mod certificates;
mod database_move;
mod deleting;
mod dependencies;
mod digests;
mod doctor;
mod drift;
mod edge;
mod endpoints;
mod envoy;
mod failures;
mod gitops;
mod guard;
mod held_back;
mod interrupted;
mod key_rotation;
mod lifecycle;
mod master_key_rotation;
mod protected;
mod proxies;
mod real_aip;
mod rights;
mod terminal;
mod test_project;
mod tilt;
mod walkthrough;
