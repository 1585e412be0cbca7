//! The cluster suite: builds the Kubernetes control plane once, into the cache folder, then runs the
//! tests that deploy to it. The script installs Go where there is none.

use std::path::Path;

use anyhow::Result;

use super::rust;
use super::tally::Tally;
use crate::{paths, process};

pub(super) fn run() -> Result<Tally> {
    let mut build = process::command("tests/cluster/build.sh");
    build.env(paths::CACHE_VARIABLE, paths::cache()?);
    // It prints the folder of the programs; what it is doing goes to standard error.
    let folder = process::output(&mut build)?;
    rust::cluster(Path::new(folder.trim()))
}
