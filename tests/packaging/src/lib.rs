//! What the tests of this crate share: the release folder, the image, and running what is in them.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "for tests only: what cannot be set up ends the test"
)]

mod given;
mod server;
mod service;

pub use given::{image, registry, release_file, unpacked_archive, unpacked_image, version};
pub use server::AipServer;
pub use service::{Service, free_port, run};
