//! The suites that `cargo test` runs.
//!
//! A story is an integration test in a target named `stories`; a target whose name begins with
//! `cluster` needs a Kubernetes control plane, one named `packaging` a release folder; everything else
//! is a unit test.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::tally::Tally;
use crate::{paths, process, say};

const STORIES: &str = "stories";
const CLUSTER: &str = "cluster";
const PACKAGING: &str = "packaging";

/// How many stories run at once. By itself it is one per processor, and stories wait: of two processors a
/// third is idle then.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";
const STORIES_THREADS: &str = "3";

pub(super) fn unit() -> Result<Tally> {
    let mut test = cargo_test()?;
    test.args(["--lib", "--bins"]);
    count(add_targets(&mut test, |name| {
        name != STORIES && name != PACKAGING && !name.starts_with(CLUSTER)
    })?)
}

pub(super) fn stories() -> Result<Tally> {
    count(
        cargo_test()?
            .args(["--test", STORIES])
            .env(THREADS_VARIABLE, STORIES_THREADS),
    )
}

/// `programs` is the folder of the control plane's programs, `image` the layout that Pods run.
pub(super) fn cluster(programs: &Path, image: &Path) -> Result<Tally> {
    let mut test = cargo_test()?;
    test.env(super::cluster::PROGRAMS_VARIABLE, programs);
    test.env(super::cluster::IMAGE_VARIABLE, image);
    count(add_targets(&mut test, |name| name.starts_with(CLUSTER))?)
}

/// `variables` say where release folder, image and registry are.
pub(super) fn packaging(variables: &[(&str, PathBuf)]) -> Result<Tally> {
    let mut test = cargo_test()?;
    test.envs(variables.iter().map(|(name, path)| (name, path)));
    count(test.args(["--test", PACKAGING]))
}

/// Adds the integration tests of these names.
fn add_targets(test: &mut Command, wanted: impl Fn(&str) -> bool) -> Result<&mut Command> {
    for target in integration_tests()? {
        if wanted(&target) {
            test.args(["--test", &target]);
        }
    }
    Ok(test)
}

fn cargo_test() -> Result<Command> {
    let mut test = process::cargo();
    test.args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .env("PATH", path_with_postgres()?);
    Ok(test)
}

/// Debian keeps the PostgreSQL server's programs off the `PATH`, one folder per version.
fn path_with_postgres() -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(super::needs::debian_postgres())
        .collect();
    std::env::join_paths(folders).context("PATH cannot be extended")
}

/// Names of the integration test targets of all crates.
fn integration_tests() -> Result<BTreeSet<String>> {
    let text = process::output(process::cargo().args([
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--locked",
    ]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array();
    Ok(packages
        .into_iter()
        .flatten()
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter(|target| target["kind"][0] == "test")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect())
}

/// Builds the programs that are tested from outside, and those that do it; the folder they are in.
pub(super) fn programs() -> Result<PathBuf> {
    process::run(process::cargo().args([
        "build",
        "--locked",
        "-p",
        "aip",
        "-p",
        "aip-sandbox",
        "-p",
        "chaos",
        "--bins",
    ]))?;
    Ok(paths::target().join("debug"))
}

/// Runs a test runner, shows its output as it comes, and counts.
pub(super) fn count(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("the runner has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        // Tests may print anything, not only UTF-8.
        let line = String::from_utf8_lossy(&line?).into_owned();
        tally.read(line.trim_end());
        say::line(&line);
    }
    Ok(tally.finish(child.wait()?.success()))
}
