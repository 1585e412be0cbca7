//! Folders for the databases and logs of one run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A folder that is removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the folder of one run in `base`.
    pub fn create(base: &Path, name: &str) -> Result<Self> {
        let path = base.join(format!("run-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// A new folder in it.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// Leaves it where it is, and says where.
    pub fn keep(self) -> PathBuf {
        let path = self.0.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
