//! The end-to-end suite: builds the programs and hands them to the scripts of `tests/e2e`.
//!
//! What the scripts install (`setup.mjs`) goes to the cache folder under the fingerprint of its
//! lock files, so a fresh clone finds it, the compiled `better-sqlite3` included.

use std::path::PathBuf;

use anyhow::Result;

use super::rust::{count, programs};
use super::tally::Tally;
use crate::{paths, process};

pub(super) fn run() -> Result<Tally> {
    let cache = set_up()?;
    let programs = programs()?;
    count(
        process::command("node")
            .arg("tests/e2e/run.mjs")
            .env("AIP_BIN", programs.join("aip"))
            .env("AIP_SANDBOX_BIN", programs.join("aip-sandbox"))
            .env("E2E_CACHE_DIR", &cache),
    )
}

/// Installs what the scripts need; the folder it is kept in.
pub(super) fn set_up() -> Result<PathBuf> {
    let cache = paths::cache()?.join("e2e");
    let mut setup = process::command("node");
    setup
        .arg("tests/e2e/setup.mjs")
        .env("E2E_CACHE_DIR", &cache);
    if let Some(headers) = node_headers() {
        setup.env("npm_config_nodedir", headers);
    }
    process::run(&mut setup)?;
    Ok(cache)
}

/// The prefix under which Node's C headers lie; without it node-gyp downloads them.
fn node_headers() -> Option<PathBuf> {
    let program =
        process::output(process::command("node").args(["-p", "process.execPath"])).ok()?;
    let program = std::fs::canonicalize(program.trim()).ok()?;
    let prefix = program.parent()?.parent()?;
    prefix
        .join("include/node/node.h")
        .exists()
        .then(|| prefix.to_path_buf())
}
