//! `cargo xtask bench NAME`: builds release binaries as an operator does, then lets the `bench`
//! package measure them and write the figures down.

use std::path::PathBuf;

use anyhow::Result;

use crate::{paths, process, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_parser = ["start", "signin", "refresh", "introspect", "userinfo"])]
    name: String,

    /// Where to write the figures; `bench/results/NAME.json` unless told.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    // One after the other: together, `aip` would get features of libraries that only the
    // benchmark asks for, and would not be the program that people run.
    for package in ["aip", "bench"] {
        say::step(&format!("build {package}"));
        process::run(process::cargo().args(["build", "--release", "--locked", "-p", package]))?;
    }
    let json = args.json.clone().unwrap_or_else(|| {
        paths::root()
            .join("bench/results")
            .join(format!("{}.json", args.name))
    });
    let binaries = paths::target().join("release");
    say::step(&format!("measure {}", args.name));
    process::run(
        process::command(binaries.join("bench"))
            .arg(&args.name)
            .arg("--program")
            .arg(binaries.join("aip"))
            .arg("--scratch")
            .arg(paths::target())
            .arg("--json")
            .arg(json),
    )
}
