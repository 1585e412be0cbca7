//! `cargo xtask bench NAME`: builds the program in the profile that is released, then lets the
//! `bench` package measure it and write the figures down.

use std::path::PathBuf;

use anyhow::Result;

use crate::test::cluster;
use crate::{paths, process, say};

/// The cargo profile of released programs.
const PROFILE: &str = "dist";

/// Measured against a Kubernetes control plane; all others measure `aip`.
const PREVIEW: &str = "preview";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_parser = ["start", "signin", "refresh", "client_credentials", "token_jwt", "par", "introspect", "userinfo", "session", "xrpc", "discovery", "jwks", "keeper", "rekey", PREVIEW])]
    name: String,

    /// Where to write the figures; `bench/results/NAME.json` unless told.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let binaries = paths::target().join(PROFILE);
    let mut measure = process::command(binaries.join("bench"));
    // Whoever measures, and for `preview` the server in the Pods, which is part of `cluster`.
    let (program, measuring): (_, &[&str]) = if args.name == PREVIEW {
        say::step("build the control plane");
        measure.env(cluster::PROGRAMS_VARIABLE, cluster::programs()?);
        ("aip-deploy", &["bench", "cluster"])
    } else {
        ("aip", &["bench"])
    };
    // One after the other: together, the program would get features of libraries that only the
    // benchmark asks for, and would not be the program that people run.
    for packages in [&[program][..], measuring] {
        say::step(&format!("build {}", packages.join(", ")));
        let selection = packages.iter().flat_map(|package| ["-p", package]);
        process::run(
            process::cargo()
                .args(["build", "--profile", PROFILE, "--locked"])
                .args(selection),
        )?;
    }
    let json = args.json.clone().unwrap_or_else(|| {
        paths::root()
            .join("bench/results")
            .join(format!("{}.json", args.name))
    });
    say::step(&format!("measure {}", args.name));
    process::run(
        measure
            .arg(&args.name)
            .arg("--program")
            .arg(binaries.join(program))
            .arg("--scratch")
            .arg(paths::target())
            .arg("--json")
            .arg(json),
    )
}
