//! The data folder: the SQLite file and the generated keys, for nobody but this user, and one
//! server at a time.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aip_base::{Clock, Rng};
use aip_config::JsonWebKeys;
use aip_keys::{KeySet, MasterKeys};
use aip_sessions::Spill;
use anyhow::{Context as _, anyhow, bail};
use secrecy::{ExposeSecret as _, SecretString};

/// What only the owner may read and write.
const PRIVATE_FILE: u32 = 0o600;
/// What only the owner may enter.
const PRIVATE_FOLDER: u32 = 0o700;

pub(crate) const SIGNING_KEYS: &str = "keys.json";
pub(crate) const MASTER_KEYS: &str = "master-keys.json";
const SPILL: &str = "spill";
const LOCK: &str = "lock";
const KEYS_LOCK: &str = "keys.lock";

/// The data folder.
#[derive(Debug)]
pub(crate) struct DataDir(PathBuf);

/// The right to run a server on a data folder, or to write its keys, for as long as it is held.
#[derive(Debug)]
pub(crate) struct DataDirLock(
    #[expect(dead_code, reason = "the lock ends when the file closes")] File,
);

impl DataDir {
    /// Opens the folder, and makes it if it is not there.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_FOLDER)
            .create(path)
            .with_context(|| format!("cannot make the data folder {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Claims the folder for this server.
    pub(crate) fn lock(&self) -> anyhow::Result<DataDirLock> {
        let (path, file) = self.lock_file(LOCK)?;
        match file.try_lock() {
            Ok(()) => Ok(DataDirLock(file)),
            Err(TryLockError::WouldBlock) => bail!(
                "another `aip serve` runs on the data folder {}; end it, or choose another folder with AIP_DATA_DIR",
                self.0.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Where the keeper puts tokens that it cannot store.
    pub(crate) fn spill(&self) -> anyhow::Result<Spill> {
        let path = self.path(SPILL);
        Spill::open(&path).with_context(|| format!("cannot make the folder {}", path.display()))
    }

    /// Whether tokens wait that could not be stored.
    pub(crate) fn has_spilled(&self) -> anyhow::Result<bool> {
        let path = self.path(SPILL);
        let read = || -> io::Result<bool> {
            for file in std::fs::read_dir(&path)? {
                if file?.path().extension() == Some("json".as_ref()) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        read().with_context(|| format!("cannot read {}", path.display()))
    }

    /// The path of a file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Waits for the right to write key files: whoever holds it writes them alone.
    pub(crate) fn lock_keys(&self) -> anyhow::Result<DataDirLock> {
        let (path, file) = self.lock_file(KEYS_LOCK)?;
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(DataDirLock(file))
    }

    fn lock_file(&self, name: &str) -> anyhow::Result<(PathBuf, File)> {
        let path = self.0.join(name);
        let file = private(OpenOptions::new().create(true).write(true).truncate(false))
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok((path, file))
    }

    /// The signing keys: the configured ones, or those of the folder, made at first use. Keys
    /// towards apps that a configured set lacks are made and kept in the folder, too.
    pub(crate) fn signing_keys(
        &self,
        configured: Option<&JsonWebKeys>,
        active: &[String],
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> anyhow::Result<KeySet> {
        match configured {
            None => self.own_signing_keys(active, clock, rng),
            Some(JsonWebKeys::File(path)) => {
                let json =
                    read(path)?.ok_or_else(|| anyhow!("there is no file {}", path.display()))?;
                let keys = load(&json, active).with_context(|| path.display().to_string())?;
                self.with_oidc_keys(keys, clock, rng)
            }
            Some(JsonWebKeys::Json(json)) => self.with_oidc_keys(load(json, active)?, clock, rng),
        }
    }

    fn own_signing_keys(
        &self,
        active: &[String],
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> anyhow::Result<KeySet> {
        let json =
            self.read_or_create(
                SIGNING_KEYS,
                || Ok(KeySet::generate(clock, rng)?.to_json()?),
            )?;
        load(&json, active).with_context(|| self.0.join(SIGNING_KEYS).display().to_string())
    }

    /// A configured set may hold keys towards PDSs alone, as older versions had it.
    fn with_oidc_keys(
        &self,
        mut keys: KeySet,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> anyhow::Result<KeySet> {
        if keys.lacks_oidc() {
            let own = self.own_signing_keys(&[], clock, rng)?;
            keys.take_oidc_from(&own);
        }
        Ok(keys)
    }

    /// The keys that protect the database: the configured ones, or those of the folder.
    pub(crate) fn master_keys(
        &self,
        configured: Option<&SecretString>,
        rng: &dyn Rng,
    ) -> anyhow::Result<MasterKeys> {
        let (json, whence) = match configured {
            Some(json) => (
                json.clone(),
                "keys.master_keys (AIP_MASTER_KEYS)".to_owned(),
            ),
            None => (
                self.read_or_create(MASTER_KEYS, || Ok(MasterKeys::generate(rng).to_json()))?,
                self.0.join(MASTER_KEYS).display().to_string(),
            ),
        };
        MasterKeys::from_json(json.expose_secret()).context(whence)
    }

    /// What is in that file, made if it is not there. Two processes that start on an empty folder
    /// at once must not each make keys: the database would be sealed with some that are gone.
    fn read_or_create(
        &self,
        name: &str,
        make: impl FnOnce() -> anyhow::Result<SecretString>,
    ) -> anyhow::Result<SecretString> {
        let path = self.0.join(name);
        if let Some(json) = read(&path)? {
            return Ok(json);
        }
        let _alone = self.lock_keys()?;
        if let Some(json) = read(&path)? {
            return Ok(json);
        }
        let json = make()?;
        write_private(&path, &json)?;
        Ok(json)
    }
}

/// Writes a file for this user alone, whole or not at all: first under another name, then renamed.
pub(crate) fn write_private(path: &Path, json: &SecretString) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let draft = folder.join(format!(".{}.new", name.to_string_lossy()));
        let mut file =
            private(OpenOptions::new().create(true).write(true).truncate(true)).open(&draft)?;
        file.set_permissions(Permissions::from_mode(PRIVATE_FILE))?;
        file.write_all(json.expose_secret().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(PRIVATE_FILE)
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Option<SecretString>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

pub(crate) fn load(json: &SecretString, active: &[String]) -> anyhow::Result<KeySet> {
    Ok(KeySet::load_json(json.expose_secret(), active)?)
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;

    use super::*;

    #[test]
    fn processes_that_start_at_once_on_an_empty_folder_share_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        let made: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let data_dir = DataDir::open(folder.path()).unwrap();
                        start.wait();
                        let keys = data_dir.master_keys(None, &SystemRng).unwrap();
                        keys.to_json().expose_secret().to_owned()
                    })
                })
                .collect();
            started.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert_eq!(made.len(), 1);
    }
}
