//! The files of a SQLite database, and copying them: for their owner alone, whole or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use crate::progress::Progress;

/// What only the owner may read and write.
const PRIVATE_FILE: u32 = 0o600;
/// How often it is looked how large a file has become.
const SIZE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The write-ahead log of a database: it may hold the newest transactions.
pub(crate) fn write_ahead_log(database: &Path) -> PathBuf {
    sibling(database, "-wal")
}

/// What processes that use a database share; nothing that is kept.
pub(crate) fn shared_memory(database: &Path) -> PathBuf {
    sibling(database, "-shm")
}

fn sibling(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The folder that a file is, or would be, in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The hidden name, in the same folder, under which `file` is written before it is renamed.
pub(crate) fn draft_of(file: &Path) -> anyhow::Result<PathBuf> {
    let name = file
        .file_name()
        .with_context(|| format!("{} names no file", file.display()))?;
    Ok(folder_of(file).join(format!(".{}.new", name.to_string_lossy())))
}

/// Opens a file for its owner alone, and makes it if it is not there.
pub(crate) fn open_private(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options
        .mode(PRIVATE_FILE)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Gives a file to its owner alone, whatever its mode was.
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(PRIVATE_FILE))
}

/// Whether the open file is the one that is at `path` now.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((open.dev(), open.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Copies a file to a new one for its owner alone.
pub(crate) fn copy_private(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copy = || -> io::Result<()> {
        let mut source = File::open(from)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(PRIVATE_FILE);
        let mut target = options.open(to)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    };
    copy().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Renames a file within its folder, so that a power cut does not undo it.
pub(crate) fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::rename(from, to)
        .and_then(|()| File::open(folder_of(to))?.sync_all())
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

/// Waits for `work`, which writes `file`, and tells meanwhile how large the file is.
pub(crate) async fn with_size_progress<T>(
    work: impl Future<Output = T>,
    file: &Path,
    mut progress: Progress,
) -> T {
    let size = || std::fs::metadata(file).map_or(0, |found| found.len());
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                progress.end(size());
                return done;
            }
            () = sleep(SIZE_POLL_INTERVAL) => progress.update(size()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_distinguished_from_what_has_taken_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draft");
        let file = open_private(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        std::fs::rename(&path, folder.path().join("done")).unwrap();
        assert!(!is_at(&file, &path).unwrap(), "renamed");
        open_private(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap(), "replaced");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("done", &path).unwrap();
        assert!(!is_at(&file, &path).unwrap(), "a link to it");
    }
}
