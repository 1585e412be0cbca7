//! Building programs as they are shipped: each one file that needs no library of its machine.
//!
//! They are linked statically to glibc, not to musl: the tests and benchmarks run with it, and its
//! allocator is the faster one. Since glibc 2.34 its resolver (`files` and `dns`) is part of a static
//! program; see docs/release.md for what follows for names of hosts.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{paths, process, say};

/// Nothing but the last step differs from an ordinary build, so the libraries are shared with it.
const LINK: &[&str] = &["-C", "target-feature=+crt-static", "-C", "strip=debuginfo"];

/// What a program is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// `x86_64`
    Amd64,
    /// `aarch64`
    Arm64,
}

/// With which optimisation and which paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// What is released: link-time optimisation, and the same bytes in every checkout.
    Dist,
    /// What tests use: shares its libraries with `cargo test`.
    Dev,
}

impl Architecture {
    pub(crate) const fn of_this_machine() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The target in Rust's words.
    fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The C compiler of Debian's cross toolchain, which links as well.
    fn cross_compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// Those that were asked for, or that of this machine.
    pub(crate) fn chosen(asked: &[Self]) -> Vec<Self> {
        if asked.is_empty() {
            vec![Self::of_this_machine()]
        } else {
            asked.to_vec()
        }
    }
}

impl Profile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Dev => "dev",
        }
    }

    /// The folder that cargo writes to.
    fn folder(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Dev => "debug",
        }
    }
}

/// Builds a program; where it lies.
pub(crate) fn build(
    package: &str,
    profile: Profile,
    architecture: Architecture,
) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.args(["rustc", "--locked", "--package", package, "--bin", package]);
    cargo.args(["--profile", profile.name()]);
    let mut built = paths::target();
    if architecture != Architecture::of_this_machine() {
        require_cross_toolchain(architecture)?;
        let target = architecture.target();
        let variable = target.to_uppercase().replace('-', "_");
        cargo.args(["--target", target]).env(
            format!("CARGO_TARGET_{variable}_LINKER"),
            architecture.cross_compiler(),
        );
        built.push(target);
    }
    if profile == Profile::Dist {
        hide_folders(&mut cargo)?;
    }
    cargo.arg("--").args(LINK);
    process::run(&mut cargo)?;
    // Copied away: the next ordinary build puts a program of the same name there.
    let kept =
        paths::target()
            .join("static")
            .join(format!("{}-{}", profile.name(), architecture.name()));
    std::fs::create_dir_all(&kept)?;
    let kept = kept.join(package);
    let built = built.join(profile.folder()).join(package);
    // Not overwritten in place: somebody may be running it.
    let fresh = kept.with_extension("new");
    std::fs::copy(&built, &fresh).with_context(|| format!("cannot copy {}", built.display()))?;
    std::fs::rename(&fresh, &kept)?;
    Ok(kept)
}

/// Replaces the folders of this machine in panics and assertions, so that the same sources give the
/// same bytes everywhere.
fn hide_folders(cargo: &mut std::process::Command) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .context("no folder of cargo: set HOME or CARGO_HOME")?;
    let mut rust = Vec::new();
    let mut c = Vec::new();
    // The last one that fits is taken, so the folder inside of another comes behind it.
    for (folder, name) in [
        (home, "cargo"),
        (paths::root().to_owned(), "aip"),
        (paths::target(), "target"),
    ] {
        let folder = folder.display();
        rust.push(format!("--remap-path-prefix={folder}=/{name}"));
        c.push(format!("-ffile-prefix-map={folder}=/{name}"));
    }
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", OsString::from(rust.join("\x1f")))
        .env("CFLAGS", c.join(" "));
    Ok(())
}

fn require_cross_toolchain(architecture: Architecture) -> Result<()> {
    let target = architecture.target();
    let mut rustup = process::command("rustup");
    let installed = process::quiet_output(rustup.args(["target", "list", "--installed"]));
    if !installed.is_some_and(|list| list.lines().any(|line| line == target)) {
        bail!(
            "Rust has no library for {}: rustup target add {target}",
            architecture.name()
        );
    }
    let compiler = architecture.cross_compiler();
    if !process::succeeds(process::command(compiler).arg("--version")) {
        bail!(
            "there is no C compiler {compiler}: apt-get install crossbuild-essential-{}",
            architecture.name()
        );
    }
    say::line(&format!("  for {}", architecture.name()));
    Ok(())
}
