//! Changing keys where they are kept: read, changed and written by one process at a time, whole or not
//! at all. Files are locked; the key set in the database is written by the one who read it last.

use std::fmt;
use std::path::{Path, PathBuf};

use aip_base::{Clock as _, SystemClock, Timestamp};
use aip_config::{JsonWebKeys, Keys, LoadedConfig};
use aip_keys::{KeySet, MasterKeys};
use anyhow::{Context as _, anyhow, bail};
use secrecy::ExposeSecret as _;

use crate::data_dir::{DataDir, MASTER_KEYS, SIGNING_KEYS, load, read, write_private};
use crate::runtime::Runtime;

/// Where keys are kept.
pub(crate) enum KeySetLocation {
    /// In this file.
    File(PathBuf),
    /// In the database.
    Database,
}

impl KeySetLocation {
    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Database => None,
        }
    }

    /// How servers learn of a change.
    pub(crate) fn change_notice(&self) -> &'static str {
        match self {
            Self::File(_) => "Send SIGHUP to every server",
            Self::Database => "Every server learns of it within 15 seconds",
        }
    }

    /// How a new key comes to be published.
    pub(crate) fn publication_notice(&self) -> &'static str {
        match self {
            Self::File(_) => "Send SIGHUP to every server, so that it is published",
            Self::Database => "Every server publishes it within 15 seconds",
        }
    }
}

impl fmt::Display for KeySetLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Database => f.write_str("the database"),
        }
    }
}

/// Changes the key set where it is kept: `change` receives the time.
pub(crate) async fn change_key_set<T>(
    runtime: &Runtime,
    loaded: &LoadedConfig,
    change: impl FnOnce(&mut KeySet, Timestamp) -> anyhow::Result<T>,
) -> anyhow::Result<(T, KeySetLocation)> {
    let now = runtime.storage.database_time(SystemClock.now()).await?;
    let Some((stored, mut there)) = runtime.stored_keys(loaded).await? else {
        let keys = &loaded.config.keys;
        let (done, path) = runtime
            .data_dir
            .change_key_set(keys, |set| change(set, now))?;
        return Ok((done, KeySetLocation::File(path)));
    };
    let done = change(&mut there.set, now)?;
    if !stored.replace(there.generation, &there.set).await? {
        bail!(
            "another process changed the key set in the database at the same moment, and nothing was \
             done: run the command again"
        );
    }
    Ok((done, KeySetLocation::Database))
}

/// Refuses a key set that no command can write.
pub(crate) fn refuse_unwritable(keys: &Keys) -> anyhow::Result<()> {
    if matches!(keys.json_web_keys, Some(JsonWebKeys::Json(_))) {
        bail!(
            "the key set is given by keys.json_web_keys as a text (AIP_JSON_WEB_KEYS, or the \
             file that AIP_JSON_WEB_KEYS_FILE names), which this command does not write; give \
             the path of the file instead: AIP_JSON_WEB_KEYS=PATH"
        );
    }
    Ok(())
}

impl DataDir {
    /// Changes the key set in its file.
    pub(crate) fn change_key_set<T>(
        &self,
        keys: &Keys,
        change: impl FnOnce(&mut KeySet) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, PathBuf)> {
        refuse_unwritable(keys)?;
        let path = match &keys.json_web_keys {
            Some(JsonWebKeys::File(path)) => path.clone(),
            Some(JsonWebKeys::Json(_)) | None => self.path(SIGNING_KEYS),
        };
        let _alone = self.lock_keys()?;
        let json = read(&path)?.ok_or_else(|| anyhow!("there is no file {}", path.display()))?;
        let mut set =
            load(&json, &keys.active_signing_keys).with_context(|| path.display().to_string())?;
        let done = change(&mut set)?;
        write_private(&path, &set.to_json()?)?;
        Ok((done, path))
    }

    /// Changes the master keys in their file.
    pub(crate) fn change_master_keys<T>(
        &self,
        keys: &Keys,
        change: impl FnOnce(&mut MasterKeys) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, PathBuf)> {
        if keys.master_keys.is_some() {
            bail!(
                "the master keys are given by keys.master_keys (AIP_MASTER_KEYS or its file), \
                 which this command does not write; change them on a copy in a data folder, and \
                 put the new text in their place"
            );
        }
        let path = self.path(MASTER_KEYS);
        let _alone = self.lock_keys()?;
        let json = read(&path)?.ok_or_else(|| anyhow!("there is no file {}", path.display()))?;
        let mut master = MasterKeys::from_json(json.expose_secret())
            .with_context(|| path.display().to_string())?;
        let done = change(&mut master)?;
        write_private(&path, &master.to_json())?;
        Ok((done, path))
    }
}
