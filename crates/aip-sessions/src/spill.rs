//! The spill: tokens that were received and cannot be stored wait on the local disk, one file for
//! each session, until the database is back or the process has been started anew.
//!
//! A refresh token is for one use, so tokens that are dropped are a session that is lost. What is
//! secret in a file is sealed exactly as in the database.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aip_base::{RowId, Timestamp};
use aip_keys::Sealed;
use aip_storage::refresh::{PartialRefresh, Refreshed};
use aip_storage::upstream::SealedTokens;
use serde::{Deserialize, Serialize};

/// How many files there may be. There is one for each refresh that was under way when the database
/// went away, and those are bounded.
const MAX_FILES: usize = 10_000;
/// The largest file that is read.
const MAX_BYTES: u64 = 256 * 1024;
const SUFFIX: &str = "json";

/// The folder of waiting tokens.
#[derive(Debug, Clone)]
pub struct Spill {
    folder: Arc<Path>,
}

/// A file of the spill.
#[derive(Serialize, Deserialize)]
struct SpilledTokens {
    id: String,
    generation: i64,
    fence: i64,
    access_token: String,
    refresh_token: Option<String>,
    access_expires_at: i64,
    pds: String,
    scope: String,
    next_refresh_at: i64,
    /// When the tokens were asked for; the name is that of files of earlier releases.
    received_at: i64,
    #[serde(default)]
    trouble: Option<SpilledPartialRefresh>,
}

#[derive(Serialize, Deserialize)]
struct SpilledPartialRefresh {
    failures: u32,
    error: String,
}

impl Spill {
    /// Opens the folder, and makes it if it is not there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        Ok(Self {
            folder: folder.into(),
        })
    }

    /// Writes tokens down, whole or not at all, on the disk before it returns.
    pub(crate) async fn put(&self, refreshed: &Refreshed) -> io::Result<()> {
        let (folder, waiting) = (Arc::clone(&self.folder), SpilledTokens::of(refreshed));
        blocking(move || write(&folder, &waiting)).await
    }

    /// Forgets the tokens of a session.
    pub(crate) async fn remove(&self, id: RowId) -> io::Result<()> {
        let path = file_of(&self.folder, &id.to_string());
        blocking(move || match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// Everything that waits. A file that cannot be read is reported and left for the operator.
    pub(crate) async fn waiting(&self) -> io::Result<Vec<Refreshed>> {
        let folder = Arc::clone(&self.folder);
        blocking(move || {
            let mut waiting = Vec::new();
            for path in files(&folder)? {
                match read(&path) {
                    Ok(refreshed) => waiting.push(refreshed),
                    // Somebody has just stored it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::error!(path = %path.display(), %error, "spill file is unreadable");
                    }
                }
            }
            Ok(waiting)
        })
        .await
    }
}

impl SpilledTokens {
    fn of(refreshed: &Refreshed) -> Self {
        let tokens = &refreshed.tokens;
        Self {
            id: refreshed.id.to_string(),
            generation: refreshed.generation,
            fence: refreshed.fence,
            access_token: tokens.access.as_str().to_owned(),
            refresh_token: tokens.refresh.as_ref().map(|it| it.as_str().to_owned()),
            access_expires_at: tokens.access_expires_at.as_micros(),
            pds: refreshed.pds.to_string(),
            scope: refreshed.scope.to_string(),
            next_refresh_at: refreshed.next_refresh_at.as_micros(),
            received_at: refreshed.asked_at.as_micros(),
            trouble: refreshed.partial.as_ref().map(|it| SpilledPartialRefresh {
                failures: it.failures,
                error: it.error.clone(),
            }),
        }
    }

    fn into_refreshed(self) -> Option<Refreshed> {
        Some(Refreshed {
            id: self.id.parse().ok()?,
            generation: self.generation,
            fence: self.fence,
            tokens: SealedTokens {
                access: Sealed::from_stored(self.access_token),
                refresh: self.refresh_token.map(Sealed::from_stored),
                access_expires_at: Timestamp::from_micros(self.access_expires_at),
            },
            pds: self.pds.parse().ok()?,
            scope: self.scope.parse().ok()?,
            next_refresh_at: Timestamp::from_micros(self.next_refresh_at),
            partial: self.trouble.map(|it| PartialRefresh {
                failures: it.failures,
                error: it.error,
            }),
            asked_at: Timestamp::from_micros(self.received_at),
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn file_of(folder: &Path, id: &str) -> PathBuf {
    folder.join(id).with_extension(SUFFIX)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(2 * MAX_FILES) {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
            files.push(path);
        }
    }
    Ok(files)
}

fn write(folder: &Path, waiting: &SpilledTokens) -> io::Result<()> {
    let path = file_of(folder, &waiting.id);
    if files(folder)?.len() >= MAX_FILES {
        return Err(io::Error::other("too many tokens wait to be stored"));
    }
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    serde_json::to_writer(&mut file, waiting)?;
    file.flush()?;
    file.sync_all()?;
    std::fs::rename(&draft, &path)?;
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> io::Result<Refreshed> {
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "not a file of the spill");
    if std::fs::metadata(path)?.len() > MAX_BYTES {
        return Err(unreadable());
    }
    let waiting: SpilledTokens = serde_json::from_slice(&std::fs::read(path)?)?;
    waiting.into_refreshed().ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn refreshed(id: &str) -> Refreshed {
        Refreshed {
            id: id.parse().unwrap(),
            generation: 3,
            fence: 7,
            tokens: SealedTokens {
                access: Sealed::from_stored("sealed access".to_owned()),
                refresh: Some(Sealed::from_stored("sealed refresh".to_owned())),
                access_expires_at: Timestamp::from_secs(2000),
            },
            pds: "https://pds.example".parse().unwrap(),
            scope: "atproto transition:generic".parse().unwrap(),
            next_refresh_at: Timestamp::from_secs(3000),
            partial: None,
            asked_at: Timestamp::from_secs(1000),
        }
    }

    const ONE: &str = "0192f3a4-7b1c-7def-8abc-0123456789ab";
    const TWO: &str = "0192f3a4-7b1c-7def-8abc-0123456789ac";

    #[tokio::test]
    async fn what_was_put_is_there_after_a_restart_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        let spill = Spill::open(&path).unwrap();
        spill.put(&refreshed(ONE)).await.unwrap();
        spill.put(&refreshed(TWO)).await.unwrap();
        spill.put(&refreshed(TWO)).await.unwrap();
        drop(spill);

        let spill = Spill::open(&path).unwrap();
        let mut waiting = spill.waiting().await.unwrap();
        waiting.sort_by_key(|it| it.id.to_string());
        let [one, two] = waiting.as_slice() else {
            panic!("{waiting:?}");
        };
        assert_eq!(
            (one.id.to_string(), two.id.to_string()),
            (ONE.to_owned(), TWO.to_owned())
        );
        assert_eq!((one.generation, one.fence), (3, 7));
        assert_eq!(one.tokens.access.as_str(), "sealed access");
        assert_eq!(one.pds, refreshed(ONE).pds);
        assert_eq!(one.scope, refreshed(ONE).scope);
        assert_eq!(one.tokens.access_expires_at, Timestamp::from_secs(2000));

        spill.remove(one.id).await.unwrap();
        spill.remove(one.id).await.unwrap();
        assert_eq!(spill.waiting().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn files_are_their_owners_alone_and_a_broken_one_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        let spill = Spill::open(&path).unwrap();
        spill.put(&refreshed(ONE)).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&file_of(&path, ONE)), 0o600);

        std::fs::write(file_of(&path, "torn"), "{\"id\":").unwrap();
        std::fs::write(path.join("draft.new"), "half").unwrap();
        assert_eq!(spill.waiting().await.unwrap().len(), 1);
    }
}
