//! A stack of AIP, from its file to the objects that the cluster should hold. Pure: whoever calls
//! reads the files, opens the key of the encrypted values and talks to the cluster.
//!
//! | module | what |
//! | --- | --- |
//! | [`config`] | the typed configuration, every problem with its line and the command that fixes it |
//! | [`signing_keys`] | the keys that a stack gives to AIP, and their rotation |
//! | [`master_keys`] | the keys that protect the database, and their rotation |
//! | [`desired`] | the Kubernetes objects of a configuration, each with its phase |

pub mod config;
pub mod desired;
pub mod master_keys;
pub mod signing_keys;
mod target;

pub use target::{ResolvedImage, Target};
