//! `cargo xtask check`: what can be judged without running a server. All steps run, even after a
//! failure, so that one run shows everything there is to mend.

use anyhow::{Result, bail};

use crate::{docs, process, say, tools};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("format", format),
    ("lints", lints),
    ("dependencies", dependencies),
    ("unused dependencies", unused_dependencies),
    ("tidy", tidy),
    ("docs", docs::check),
];

pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        say::step(name);
        if let Err(error) = step() {
            say::error(&format!("{error:#}"));
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        say::line("check: all clean");
        return Ok(());
    }
    bail!("check: to mend: {}", failed.join(", "))
}

fn format() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    process::run(process::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

fn dependencies() -> Result<()> {
    let deny = || -> Result<_> {
        let mut deny = tools::CARGO_DENY.command()?;
        deny.args(["--log-level", "warn", "--all-features"]);
        Ok(deny)
    };
    process::run(deny()?.args(["check", "bans", "licenses", "sources"]))?;
    // The database is a git repository: a machine without that network must not look checked.
    if !process::succeeds(deny()?.args(["fetch", "db"])) {
        say::line("  advisories: NOT CHECKED, the advisory database is unreachable from here");
        return Ok(());
    }
    process::run(deny()?.args(["--offline", "check", "advisories"]))
}

fn unused_dependencies() -> Result<()> {
    process::run(&mut tools::CARGO_MACHETE.command()?)
}

fn tidy() -> Result<()> {
    process::run(process::cargo().args(["test", "--locked", "--quiet", "-p", "tidy"]))
}
