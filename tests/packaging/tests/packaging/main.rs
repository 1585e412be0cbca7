//! What operators are given, tried out as they do: the image and a registry, the release folder, the
//! Debian packages, the compose file, AIP behind reverse proxies, and the checklist for going live.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a set-up step that fails ends the test"
)]

mod checklist;
mod compose;
mod debian;
mod dockerfile;
mod go_live;
mod image;
#[path = "../../../../crates/aip/tests/documented_commands/page.rs"]
mod page;
mod proxies;
mod pushed;
mod release_folder;
