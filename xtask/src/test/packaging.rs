//! The packaging suite: makes a release folder and an image of the programs as the tests build them,
//! and tries them out as an operator does.

use std::path::PathBuf;

use anyhow::Result;

use super::tally::Tally;
use super::{cluster, rust};
use crate::programs::Profile;
use crate::{paths, process, release};

/// Builds the registry, and prints the program.
pub(super) const SCRIPT: &str = "tests/packaging/build.sh";

pub(super) fn run() -> Result<Tally> {
    let folder = paths::target().join("test-release");
    release::run(&release::Args {
        output: Some(folder.clone()),
        arch: Vec::new(),
        profile: Profile::Dev,
        version: None,
        // Whoever tests has not committed yet.
        allow_dirty: true,
    })?;
    rust::packaging(&[
        ("PACKAGING_RELEASE", folder),
        ("PACKAGING_IMAGE", cluster::image()?),
        ("PACKAGING_REGISTRY", registry()?),
        (cluster::PROGRAMS_VARIABLE, cluster::programs()?),
    ])
}

/// Builds the registry, unless it is built; the program.
fn registry() -> Result<PathBuf> {
    let mut build = process::command(SCRIPT);
    build.env(paths::CACHE_VARIABLE, paths::cache()?);
    Ok(process::output(&mut build)?.trim().into())
}
