//! Changing the files with keys: read, changed and written by one process at a time, whole or not
//! at all.

use std::path::PathBuf;

use aip_config::{JsonWebKeys, Keys};
use aip_keys::{KeySet, MasterKeys};
use anyhow::{Context as _, anyhow, bail};
use secrecy::ExposeSecret as _;

use crate::data_dir::{DataDir, MASTER_KEYS, SIGNING_KEYS, load, read, write_private};

impl DataDir {
    /// Changes the key set in its file.
    pub(crate) fn change_key_set<T>(
        &self,
        keys: &Keys,
        change: impl FnOnce(&mut KeySet) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, PathBuf)> {
        let path = match &keys.json_web_keys {
            None => self.path(SIGNING_KEYS),
            Some(JsonWebKeys::File(path)) => path.clone(),
            Some(JsonWebKeys::Json(_)) => bail!(
                "the key set is given by keys.json_web_keys as a text (AIP_JSON_WEB_KEYS, or the \
                 file that AIP_JSON_WEB_KEYS_FILE names), which this command does not write; give \
                 the path of the file instead: AIP_JSON_WEB_KEYS=PATH"
            ),
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
