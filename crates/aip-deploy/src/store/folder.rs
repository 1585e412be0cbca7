//! State in a folder: conditional writes under an advisory lock, every write a rename.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::StoreError;
use super::blobs::{Blobs, Version, Written};

/// A folder of this machine, or of a file server whose locks work.
pub(super) struct Folder {
    root: Arc<Path>,
    url: String,
}

impl Folder {
    pub(super) fn new(root: &Path, url: &str) -> Self {
        Self {
            root: root.into(),
            url: url.to_owned(),
        }
    }

    /// Runs blocking work on the folder.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let root = Arc::clone(&self.root);
        let outcome = tokio::task::spawn_blocking(move || work(&root))
            .await
            .map_err(io::Error::other);
        outcome.and_then(|done| done).map_err(|error| {
            let (url, reason) = (self.url.clone(), error.to_string());
            match error.kind() {
                io::ErrorKind::PermissionDenied => StoreError::Denied { url, reason },
                _ => StoreError::Unreachable { url, reason },
            }
        })
    }
}

#[async_trait]
impl Blobs for Folder {
    fn url(&self) -> &str {
        &self.url
    }

    async fn get(&self, path: &str) -> Result<Option<(Bytes, Version)>, StoreError> {
        let path = path.to_owned();
        self.run(move |root| read(&root.join(path))).await
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Written, StoreError> {
        let path = path.to_owned();
        self.run(move |root| write_if(root, &path, &content, None))
            .await
    }

    async fn replace(
        &self,
        path: &str,
        content: Bytes,
        version: &Version,
    ) -> Result<Written, StoreError> {
        let (path, version) = (path.to_owned(), version.clone());
        self.run(move |root| write_if(root, &path, &content, Some(&version)))
            .await
    }

    async fn remove(&self, path: &str) -> Result<(), StoreError> {
        let path = path.to_owned();
        self.run(move |root| match std::fs::remove_file(root.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let prefix = prefix.to_owned();
        self.run(move |root| {
            let mut found = Vec::new();
            collect(&root.join(&prefix), &prefix, &mut found)?;
            found.sort();
            Ok(found)
        })
        .await
    }
}

fn read(path: &Path) -> io::Result<Option<(Bytes, Version)>> {
    match std::fs::read(path) {
        Ok(content) => {
            let version = version_of(&content);
            Ok(Some((content.into(), version)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The hash of the content: every document that is replaced holds something random or a time.
fn version_of(content: &[u8]) -> Version {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, content))
}

/// Writes if the object has `version` (`None`: if it is not there).
fn write_if(
    root: &Path,
    path: &str,
    content: &[u8],
    version: Option<&Version>,
) -> io::Result<Written> {
    let target = root.join(path);
    let folder = target.parent().unwrap_or(root);
    std::fs::create_dir_all(folder)?;
    // Held until it is dropped; a crash gives it back.
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(".lock"))?;
    lock.lock()?;
    let current = read(&target)?.map(|(_, version)| version);
    if current.as_ref() != version {
        return Ok(Written::Changed);
    }
    let temporary: PathBuf = target.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &target)?;
    File::open(folder)?.sync_all()?;
    Ok(Written::Done(version_of(content)))
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), found)?;
        } else {
            found.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}
