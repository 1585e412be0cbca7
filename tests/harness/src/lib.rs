//! What benchmarks and chaos runs share: they start programs, look at them from outside, and sign
//! people in as apps and browsers do. Nothing here knows what AIP is made of.

pub mod app;
pub mod browser;
pub mod connection;
pub mod machine;
pub mod postgres;
pub mod process;
pub mod scratch;
pub mod sign_in;
