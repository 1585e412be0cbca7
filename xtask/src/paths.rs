//! Where things are: the checkout, and the cache folder beside it that survives fresh clones.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Names the cache folder, where the default does not suit.
pub(crate) const CACHE_VARIABLE: &str = "AIP_CACHE_DIR";

/// The root of the checkout this program was built from.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// `$AIP_CACHE_DIR`, else `$XDG_CACHE_HOME/aip`, else `~/.cache/aip`: tools and installed packages.
pub(crate) fn cache() -> Result<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let path = folder(CACHE_VARIABLE)
        .map(PathBuf::from)
        .or_else(|| folder("XDG_CACHE_HOME").map(|base| PathBuf::from(base).join("aip")))
        .or_else(|| folder("HOME").map(|home| PathBuf::from(home).join(".cache/aip")))
        .context("no place to cache tools in: set HOME or AIP_CACHE_DIR")?;
    std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Cargo's build folder: `$CARGO_TARGET_DIR` (relative to the checkout) or `target`.
pub(crate) fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
