//! State in a folder: conditional writes under an advisory lock, every write a rename.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use aip_base::{Rng, random_token};
use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::StoreError;
use super::blobs::{Blobs, Version, WriteOutcome};

/// A folder of this machine, or of a file server whose locks work.
pub(super) struct Folder {
    root: Arc<Path>,
    url: String,
    rng: Arc<dyn Rng>,
}

/// The end of the name of a file that is not complete yet.
const TEMPORARY_SUFFIX: &str = ".tmp";

impl Folder {
    pub(super) fn new(root: &Path, url: &str, rng: Arc<dyn Rng>) -> Self {
        Self {
            root: root.into(),
            url: url.to_owned(),
            rng,
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

    async fn create(&self, path: &str, content: Bytes) -> Result<WriteOutcome, StoreError> {
        let (path, rng) = (path.to_owned(), Arc::clone(&self.rng));
        self.run(move |root| write_if(root, &path, &content, None, rng.as_ref()))
            .await
    }

    async fn replace(
        &self,
        path: &str,
        content: Bytes,
        version: &Version,
    ) -> Result<WriteOutcome, StoreError> {
        let (path, version) = (path.to_owned(), version.clone());
        let rng = Arc::clone(&self.rng);
        self.run(move |root| write_if(root, &path, &content, Some(&version), rng.as_ref()))
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
    rng: &dyn Rng,
) -> io::Result<WriteOutcome> {
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
        return Ok(WriteOutcome::Changed);
    }
    // Nobody else may read it, guess its name or have put something in its place: the state holds
    // whatever the stack file has in plain text.
    let temporary = folder.join(format!(".{}{TEMPORARY_SUFFIX}", random_token::<16>(rng)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = (|| {
        file.write_all(content)?;
        // Who shares the folder with others has given its files a mode.
        if let Ok(former) = std::fs::metadata(&target) {
            file.set_permissions(Permissions::from_mode(former.mode() & 0o777))?;
        }
        file.sync_all()?;
        std::fs::rename(&temporary, &target)
    })();
    if written.is_err() {
        // The error that counts is the one above.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    File::open(folder)?.sync_all()?;
    Ok(WriteOutcome::Done(version_of(content)))
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
        } else if !(name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX)) {
            found.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;

    use super::*;

    fn files(folder: &Path) -> Vec<(String, u32)> {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().mode() & 0o777;
                (entry.file_name().into_string().unwrap(), mode)
            })
            .filter(|(name, _)| name != ".lock")
            .collect();
        files.sort();
        files
    }

    #[test]
    fn state_is_for_its_owner_alone_unless_its_mode_was_changed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        let write = |content: &[u8], version| {
            write_if(root.path(), "a.json", content, version, &SystemRng).unwrap()
        };
        let WriteOutcome::Done(first) = write(b"1", None) else {
            panic!("taken")
        };
        assert_eq!(files(root.path()), [("a.json".to_owned(), 0o600)]);
        std::fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert!(matches!(write(b"2", Some(&first)), WriteOutcome::Done(_)));
        assert_eq!(files(root.path()), [("a.json".to_owned(), 0o660)]);
    }

    #[test]
    fn what_stands_at_the_old_temporary_name_is_not_written_through() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, root.path().join("a.tmp")).unwrap();
        write_if(root.path(), "a.json", b"1", None, &SystemRng).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"kept");
    }

    #[tokio::test]
    async fn a_file_that_was_never_completed_is_no_state() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(".x.tmp"), "half").unwrap();
        std::fs::write(root.path().join("a.json"), "whole").unwrap();
        let folder = Folder::new(root.path(), "file://x", Arc::new(SystemRng));
        assert_eq!(folder.list("").await.unwrap(), ["a.json"]);
    }
}
