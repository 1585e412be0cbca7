//! `cargo xtask image`: builds `aip` as a static program, and writes its container image as an OCI
//! layout, without a daemon.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::programs::{self, Architecture, Profile};
use crate::{paths, process, say, sbom, version};

/// What the image runs.
pub(crate) const PROGRAM: &str = "aip";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder of the layout; `image` in the build folder unless told
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// For which machines; this one's unless told. May be repeated
    #[arg(long, value_enum)]
    arch: Vec<Architecture>,
    /// How `aip` is built
    #[arg(long, value_enum, default_value = "dist")]
    profile: Profile,
    /// The version; that of the tag unless told
    #[arg(long)]
    version: Option<String>,
    /// Leaves the bill of materials out
    #[arg(long)]
    no_sbom: bool,
    /// Writes the files of the image to this folder, and no layout: for `deploy/Dockerfile`
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["output", "push"])]
    files: Option<PathBuf>,
    /// Adds `aip-sandbox` to the files, for development
    #[arg(long, requires = "files")]
    with_sandbox: bool,
    /// Pushes the image, as in registry.example.org/aip:v0.1.0, as the user of `REGISTRY_USER` and
    /// `REGISTRY_PASSWORD`
    #[arg(long, value_name = "REFERENCE")]
    push: Option<String>,
    /// The registry speaks HTTP without TLS
    #[arg(long, requires = "push")]
    plain_http: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(folder) = &args.files {
        return files(args, folder);
    }
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| paths::target().join("image"));
    let digest = write(args, &output)?;
    say::line(&format!("written: {} ({digest})", output.display()));
    if let Some(reference) = &args.push {
        say::step(&format!("push to {reference}"));
        let mut push = release()?;
        push.args(["push", "--layout"]).arg(&output);
        if args.plain_http {
            push.arg("--plain-http");
        }
        let digest = process::output(push.arg(reference))?;
        say::line(&format!("pushed: {reference}@{}", digest.trim()));
    }
    Ok(())
}

/// Writes an image for tests: as it is released, but built as they are.
pub(crate) fn for_tests(output: &Path) -> Result<()> {
    let program = programs::build(PROGRAM, Profile::Dev, Architecture::of_this_machine())?;
    let mut image = writer(None)?;
    image.arg("--program").arg(program);
    process::output(image.arg("--output").arg(output)).map(drop)
}

/// The command that writes an image, which lacks programs, bill of materials and the place to write to.
pub(crate) fn writer(version: Option<&str>) -> Result<std::process::Command> {
    let mut image = release()?;
    image.args(["image", "--version", &version::choose(version)?]);
    Ok(image)
}

fn write(args: &Args, output: &Path) -> Result<String> {
    let mut image = writer(args.version.as_deref())?;
    for architecture in Architecture::chosen(&args.arch) {
        say::step(&format!("build aip ({})", args.profile.name()));
        let program = programs::build(PROGRAM, args.profile, architecture)?;
        image.arg("--program").arg(program);
    }
    if !args.no_sbom {
        image.arg("--sbom").arg(sbom::write(PROGRAM)?);
    }
    say::step("write the image");
    Ok(process::output(image.arg("--output").arg(output))?
        .trim()
        .to_owned())
}

fn files(args: &Args, folder: &Path) -> Result<()> {
    let architecture = Architecture::chosen(&args.arch);
    let architecture = architecture.first().copied();
    let architecture = architecture.unwrap_or(Architecture::of_this_machine());
    let program = programs::build(PROGRAM, args.profile, architecture)?;
    let mut release = release()?;
    release.args(["files", "--program"]).arg(program);
    process::output(release.arg("--output").arg(folder))?;
    if args.with_sandbox {
        let sandbox = programs::build("aip-sandbox", args.profile, architecture)?;
        std::fs::copy(sandbox, folder.join("usr/bin/aip-sandbox"))?;
    }
    Ok(())
}

/// The program that writes images and release folders. It is not shipped: built with the features of the whole
/// workspace, it shares its libraries with the tests.
pub(crate) fn release() -> Result<std::process::Command> {
    let mut build = process::cargo();
    build.args(["build", "--quiet", "--locked"]);
    process::run(build.args(["--workspace", "--bin", "release"]))?;
    Ok(process::command(paths::target().join("debug/release")))
}
