//! `cargo xtask release`: the folder that operators download.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::image;
use crate::programs::{self, Architecture, Profile};
use crate::{paths, process, say, sbom, version};

/// What a release consists of.
const PROGRAMS: [&str; 3] = ["aip", "aip-deploy", "aip-sandbox"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to write; `release` in the build folder unless told
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
    /// For which machines; this one's unless told. May be repeated
    #[arg(long, value_enum)]
    pub(crate) arch: Vec<Architecture>,
    /// How the programs are built
    #[arg(long, value_enum, default_value = "dist")]
    pub(crate) profile: Profile,
    /// The version; that of the tag unless told
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// Takes a checkout with changes that are in no commit
    #[arg(long)]
    pub(crate) allow_dirty: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    refuse_changes(args)?;
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| paths::target().join("release"));
    let mut release = image::release()?;
    release.args([
        "folder",
        "--version",
        &version::choose(args.version.as_deref())?,
    ]);
    let mut image = image::writer(args.version.as_deref())?;
    for architecture in Architecture::chosen(&args.arch) {
        for name in PROGRAMS {
            say::step(&format!("build {name}"));
            let program = programs::build(name, args.profile, architecture)?;
            release.arg("--program").arg(&program);
            if name == image::PROGRAM {
                image.arg("--program").arg(program);
            }
        }
    }
    for program in PROGRAMS {
        let sbom = sbom::write(program)?;
        release.arg("--sbom").arg(&sbom);
        if program == image::PROGRAM {
            image.arg("--sbom").arg(sbom);
        }
    }
    say::step("write the image");
    let layout = paths::target().join("release-image");
    process::output(image.arg("--output").arg(&layout))?;
    release.arg("--image").arg(layout);
    say::step("write the folder");
    release.arg("--checkout").arg(paths::root());
    process::output(release.arg("--output").arg(&output))?;
    say::line(&format!("written: {}", output.display()));
    Ok(())
}

/// The programs name a commit: it must be the one that they are built from.
fn refuse_changes(args: &Args) -> Result<()> {
    if args.allow_dirty || !paths::root().join(".git").exists() {
        return Ok(());
    }
    let mut status = process::command("git");
    let changes = process::output(status.args(["status", "--porcelain"]))?;
    if changes.is_empty() {
        return Ok(());
    }
    bail!(
        "the checkout has changes that are in no commit, and `aip --version` would name the commit: \
         commit them, or give --allow-dirty\n{changes}"
    )
}
