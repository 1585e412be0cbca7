//! `cargo xtask docs`: the pages of `docs/reference/` are what the program says of itself.
//!
//! `check` compares them with the program and fails when one is stale.

mod commands;
mod settings;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{paths, process, say};

/// A generated page.
struct Page {
    file: &'static str,
    render: fn(&Program) -> Result<String>,
}

const PAGES: &[Page] = &[
    Page {
        file: "docs/reference/commands.md",
        render: commands::render,
    },
    Page {
        file: "docs/reference/settings.md",
        render: settings::render,
    },
];

/// The built `aip`.
struct Program(PathBuf);

impl Program {
    fn build() -> Result<Self> {
        process::run(process::cargo().args(["build", "--quiet", "--locked", "-p", "aip"]))?;
        Ok(Self(paths::target().join("debug/aip")))
    }

    /// Standard output of `aip ARGS`. Nothing of this machine's environment may reach a page.
    fn ask(&self, args: &[&str]) -> Result<String> {
        process::output(process::command(&self.0).args(args).env_clear())
    }
}

/// Writes every page anew.
pub(crate) fn write() -> Result<()> {
    let program = Program::build()?;
    for page in PAGES {
        let path = paths::root().join(page.file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, (page.render)(&program)?)?;
        say::line(&format!("written: {}", page.file));
    }
    Ok(())
}

/// Fails when a page differs from what would be written.
pub(crate) fn check() -> Result<()> {
    let program = Program::build()?;
    let mut stale = Vec::new();
    for page in PAGES {
        let fresh = (page.render)(&program)?;
        // A page that is not there is stale too.
        if std::fs::read_to_string(paths::root().join(page.file)).ok() != Some(fresh) {
            stale.push(page.file);
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "stale: {}; run `cargo xtask docs` and commit what it writes",
        stale.join(", ")
    )
}
