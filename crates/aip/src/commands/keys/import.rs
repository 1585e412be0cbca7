//! `aip keys import`: from files into the database.

use std::sync::Arc;

use aip_base::{Clock as _, SystemClock, SystemRng};
use aip_config::LoadedConfig;
use anyhow::anyhow;
use serde_json::json;

use crate::app::pinned_keys;
use crate::failure::Failure;
use crate::output::Format;
use crate::rekeying::check_keys;
use crate::runtime::{Runtime, master_keys, signing_keys};

pub(super) async fn import(
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let storage = &*runtime.storage;
    let set = signing_keys(&runtime.data_dir, loaded)?;
    let master = master_keys(&runtime.data_dir, loaded)?;
    check_keys(storage, &master, &SystemRng).await?;
    let stored = runtime.database_keys(loaded, Arc::new(master.sealer()));
    let now = storage.database_time(SystemClock.now()).await?;
    let pinned = pinned_keys(storage).await?;
    let begun = stored.begin(&set, &pinned, now).await;
    if !begun.map_err(anyhow::Error::from)? {
        return Err(anyhow!(
            "the database holds a key set already, which this command does not replace: \
             `aip keys list` without keys.json_web_keys shows it"
        )
        .into());
    }
    let keys = set.list().count();
    let words = format!(
        "{keys} keys are in the database. Start every server again without keys.json_web_keys \
         (AIP_JSON_WEB_KEYS): the database has the key set from now on."
    );
    Ok(format.done(&json!({"keys": keys}), &words)?)
}
