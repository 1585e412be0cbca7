//! What operators are given, tried out as they do: the image and a registry, the release folder, the
//! Debian packages, the compose file, and AIP behind reverse proxies.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a set-up step that fails ends the test"
)]

mod compose;
mod debian;
mod dockerfile;
mod image;
mod proxies;
mod pushed;
mod release_folder;
