//! `cargo xtask docs`: the pages of `docs/reference/` are what the programs say of themselves.
//!
//! `check` compares them with the programs and fails when one is stale.

mod commands;
mod settings;
mod stack;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{paths, process, say};

/// A generated page.
struct Page {
    file: &'static str,
    /// Whose page it is: the name of the package and of its binary.
    program: &'static str,
    render: fn(&Program) -> Result<String>,
}

const PAGES: &[Page] = &[
    Page {
        file: "docs/reference/commands.md",
        program: "aip",
        render: commands::render,
    },
    Page {
        file: "docs/reference/settings.md",
        program: "aip",
        render: settings::render,
    },
    Page {
        file: "docs/reference/aip-deploy-commands.md",
        program: "aip-deploy",
        render: commands::render,
    },
    Page {
        file: "docs/reference/stack-file.md",
        program: "aip-deploy",
        render: stack::render,
    },
];

/// A program that says what it can do.
struct Program {
    name: &'static str,
    path: PathBuf,
}

impl Program {
    fn new(name: &'static str) -> Self {
        let path = paths::target().join("debug").join(name);
        Self { name, path }
    }

    /// Standard output of the program. Nothing of this machine's environment may reach a page.
    fn ask(&self, args: &[&str]) -> Result<String> {
        process::output(process::command(&self.path).args(args).env_clear())
    }
}

impl Page {
    fn render(&self) -> Result<String> {
        (self.render)(&Program::new(self.program))
    }
}

/// Builds every program that has a page.
fn build() -> Result<()> {
    let packages: BTreeSet<&str> = PAGES.iter().map(|page| page.program).collect();
    let selection = packages.iter().flat_map(|package| ["-p", package]);
    process::run(
        process::cargo()
            .args(["build", "--quiet", "--locked"])
            .args(selection),
    )
}

/// Writes every page anew.
pub(crate) fn write() -> Result<()> {
    build()?;
    for page in PAGES {
        let path = paths::root().join(page.file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, page.render()?)?;
        say::line(&format!("written: {}", page.file));
    }
    Ok(())
}

/// Fails when a page differs from what would be written.
pub(crate) fn check() -> Result<()> {
    build()?;
    let mut stale = Vec::new();
    for page in PAGES {
        let fresh = page.render()?;
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
