//! The cluster suite: builds the Kubernetes control plane once, into the cache folder, then runs the
//! tests that deploy to it. The script installs Go where there is none.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::Result;

use super::tally::Tally;
use super::{packaging, rust};
use crate::{paths, process};

/// Names the folder of the control plane's programs to those who start it.
pub(crate) const PROGRAMS_VARIABLE: &str = "CLUSTER_PROGRAMS";

/// Names the OCI layout that Pods run to those who start them.
pub(crate) const IMAGE_VARIABLE: &str = "CLUSTER_IMAGE";

const SCRIPT: &str = "tests/cluster/build.sh";
/// The suite runs it itself, too.
const TOOL_SCRIPT: &str = "tests/cluster/build-tool.sh";

/// A build in the background, with what the other suites leave of the machine: from nothing it
/// takes ten minutes on two cores. The registry of the packaging suite and the tools are built with it.
pub(super) struct BackgroundBuild(Child);

impl BackgroundBuild {
    pub(super) fn start() -> Result<Self> {
        let mut nice = process::command("nice");
        let all = format!(
            "{SCRIPT}; {}; {TOOL_SCRIPT} kustomize; {TOOL_SCRIPT} tiltfile; {TOOL_SCRIPT} envoy-gateway",
            packaging::SCRIPT
        );
        // Whatever goes wrong, the suite says: it runs the script again, which waits for this one.
        nice.args(["-n", "19", "sh", "-c", &all])
            .env(paths::CACHE_VARIABLE, paths::cache()?)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self(nice.spawn()?))
    }
}

impl Drop for BackgroundBuild {
    fn drop(&mut self) {
        let _status = self.0.wait();
    }
}

pub(super) fn run() -> Result<Tally> {
    rust::cluster(&programs()?, &image()?)
}

/// The image of `aip` as it is released, with a program built as the tests are.
pub(super) fn image() -> Result<PathBuf> {
    let folder = paths::target().join("test-image");
    crate::image::for_tests(&folder)?;
    Ok(folder)
}

/// Builds the control plane, unless it is built; the folder of its programs.
pub(crate) fn programs() -> Result<PathBuf> {
    // It prints the folder of the programs; what it is doing goes to standard error.
    let mut build = process::command(SCRIPT);
    build.env(paths::CACHE_VARIABLE, paths::cache()?);
    let folder = process::output(&mut build)?;
    Ok(folder.trim().into())
}
