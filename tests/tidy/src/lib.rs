//! The rules of the repository as tests. Each failure says how to mend it.
//!
//! `docs/architecture.md` explains the rules; what is only written there and tested nowhere drifts.

#![cfg(test)]

mod checkout;
mod conformance;
mod documents;
mod edges;
mod goals;
mod guides;
mod manifests;
mod openapi;
mod portability;
mod security_tests;
mod sources;
