//! Files and folders with secrets that others on this machine may read.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aip_base::DatabaseUrl;
use aip_config::LoadedConfig;

use crate::data_dir::{MASTER_KEYS, SIGNING_KEYS};

/// The bits of everybody but the owner.
const NOT_OWNER: u32 = 0o077;
/// The bits of those who are not of the group either: a group is how a supervisor hands a file to
/// a service.
const OTHERS: u32 = 0o007;

/// A file or folder that is too open.
pub(crate) struct TooOpen {
    path: PathBuf,
    mode: u32,
    /// The arguments of `chmod` that close it.
    remedy: &'static str,
}

impl fmt::Display for TooOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, mode, remedy } = self;
        let path = path.display();
        write!(
            f,
            "{path} holds secrets and is open to others (mode {mode:04o}): chmod {remedy} {path}"
        )
    }
}

/// All of them. What is not there is not too open.
pub(crate) fn too_open(loaded: &LoadedConfig) -> Vec<TooOpen> {
    let folder = &loaded.config.server.data_dir;
    let own = [SIGNING_KEYS, MASTER_KEYS].map(|name| folder.join(name));
    let database = database_file(loaded);
    let folders = std::iter::once((folder.clone(), NOT_OWNER, "700"));
    let files = own.into_iter().chain(database);
    let files = files.map(|path| (path, NOT_OWNER, "600"));
    let named = loaded.secret_files().into_iter();
    let named = named.map(|path| (path, OTHERS, "o-rwx"));
    folders
        .chain(files)
        .chain(named)
        .filter_map(|(path, bits, remedy)| {
            let mode = mode(&path).filter(|mode| mode & bits != 0)?;
            Some(TooOpen { path, mode, remedy })
        })
        .collect()
}

/// The file of a SQLite database.
pub(crate) fn database_file(loaded: &LoadedConfig) -> Option<PathBuf> {
    match loaded.database_url() {
        DatabaseUrl::Sqlite(path) => Some(path),
        DatabaseUrl::Postgres(_) => None,
    }
}

fn mode(path: &Path) -> Option<u32> {
    let found = std::fs::metadata(path).ok()?;
    Some(found.permissions().mode() & 0o7777)
}
