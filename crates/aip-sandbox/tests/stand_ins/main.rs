//! The stand-ins hold what they promise: to behave like the real ones, and to misbehave on order.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of these tests fail as tests do"
)]

mod client;
mod confidential;
mod demo;
mod facts;
mod misbehaviour;
mod passwords;
mod services;
