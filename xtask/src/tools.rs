//! Cargo tools of fixed versions, built once into the cache folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{paths, process, say};

/// A program of crates.io.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Licences, bans, sources and advisories of dependencies.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Dependencies that are declared and not used.
pub(crate) const CARGO_MACHETE: Tool = Tool {
    name: "cargo-machete",
    version: "0.9.2",
};

/// Bills of materials.
pub(crate) const CARGO_SBOM: Tool = Tool {
    name: "cargo-sbom",
    version: "0.10.0",
};

impl Tool {
    /// The tool as a command, installed first where it is not yet.
    pub(crate) fn command(&self) -> Result<Command> {
        let tools = paths::cache()?.join("tools");
        let root = tools.join(format!("{}-{}", self.name, self.version));
        let program: PathBuf = root.join("bin").join(self.name);
        if !program.exists() {
            self.install(&root, &tools.join("build"))?;
        }
        Ok(process::command(program))
    }

    fn install(&self, root: &std::path::Path, build: &std::path::Path) -> Result<()> {
        say::step(&format!("install {} {}", self.name, self.version));
        process::run(
            process::cargo()
                .args(["install", "--locked", self.name, "--version", self.version])
                .arg("--root")
                .arg(root)
                .arg("--target-dir")
                .arg(build)
                // Fast to build matters here, not fast to run: it is used a few times a day.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "false"),
        )
    }
}
