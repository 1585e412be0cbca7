//! `aip keys activate|retire|remove`: refused while something would be lost by it.

use std::path::Path;
use std::time::Duration;

use aip_config::LoadedConfig;
use aip_keys::Purpose;
use anyhow::anyhow;
use serde_json::{Value, json};

use super::list::age;
use super::{Activate, Unused, data_dir};
use crate::failure::Failure;
use crate::output::{Format, words_for};
use crate::rekeying::sealed_with;
use crate::runtime::{Runtime, master_keys, signing_keys};

/// How long PDSs and apps may go on with the public keys that they have read.
const CACHED: Duration = Duration::from_mins(10);

pub(super) fn activate(
    wanted: &Activate,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let data_dir = data_dir(loaded)?;
    let keys = &loaded.config.keys;
    let kid = &wanted.kid;
    if master_keys(&data_dir, loaded)?.kids().any(|it| it == kid) {
        let change = data_dir.change_master_keys(keys, |master| Ok(master.activate(kid)?));
        let ((), path) = change?;
        let words = format!(
            "{kid} seals from now on, as {} has it. Restart every server; then `aip keys rekey`.",
            path.display()
        );
        return Ok(format.done(&changed(kid, "active", &path), &words)?);
    }
    let set = signing_keys(&data_dir, loaded)?;
    let known = set.list().find(|key| key.kid == kid);
    if known.is_some_and(|key| key.purpose == Purpose::Upstream)
        && !keys.active_signing_keys.is_empty()
    {
        return Err(anyhow!(
            "keys.active_signing_keys names the active upstream keys, whatever the file says: put \
             `{kid}` first there"
        )
        .into());
    }
    if let Some(age) = age(kid).filter(|age| *age < CACHED && !wanted.now) {
        return Err(anyhow!(
            "the key is {} old, and others may go on with the public keys they have read for {}: \
             wait, or say `--now`",
            words_for(age),
            words_for(CACHED)
        )
        .into());
    }
    let ((), path) = data_dir.change_key_set(keys, |set| Ok(set.activate(kid)?))?;
    let words = format!(
        "{kid} signs from now on, as {} has it. Send SIGHUP to every server.",
        path.display()
    );
    Ok(format.done(&changed(kid, "active", &path), &words)?)
}

pub(super) async fn retire(
    unwanted: &Unused,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let Unused { kid, force } = unwanted;
    if master_keys(&runtime.data_dir, loaded)?
        .kids()
        .any(|it| it == kid)
    {
        return Err(Failure::Usage(anyhow!(
            "a master key is not retired: activate another one, `aip keys rekey`, `aip keys remove`"
        )));
    }
    refuse_pinned(kid, force.as_deref(), runtime).await?;
    let keys = &loaded.config.keys;
    let change = runtime
        .data_dir
        .change_key_set(keys, |set| Ok(set.retire(kid)?));
    let ((), path) = change?;
    let words = format!(
        "{kid} is retired, as {} has it. Send SIGHUP to every server.",
        path.display()
    );
    Ok(format.done(&changed(kid, "retired", &path), &words)?)
}

pub(super) async fn remove(
    unwanted: &Unused,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let Unused { kid, force } = unwanted;
    let keys = &loaded.config.keys;
    let is_master = master_keys(&runtime.data_dir, loaded)?
        .kids()
        .any(|it| it == kid);
    let path = if is_master {
        let values = sealed_with(&*runtime.storage, kid).await?;
        if values > 0 && !confirmed(kid, force.as_deref())? {
            return Err(anyhow!(
                "{values} value(s) in the database are sealed with {kid} and lost without it: \
                 `aip keys rekey` first"
            )
            .into());
        }
        let change = runtime
            .data_dir
            .change_master_keys(keys, |master| Ok(master.remove(kid)?));
        change?.1
    } else {
        refuse_pinned(kid, force.as_deref(), runtime).await?;
        let change = runtime
            .data_dir
            .change_key_set(keys, |set| Ok(set.remove(kid)?));
        change?.1
    };
    let words = format!("{kid} is removed from {}.", path.display());
    Ok(format.done(&changed(kid, "removed", &path), &words)?)
}

fn changed(kid: &str, state: &str, file: &Path) -> Value {
    json!({"kid": kid, "state": state, "file": file})
}

/// Refuses when sessions are bound to the key, unless its id was typed once more.
async fn refuse_pinned(kid: &str, force: Option<&str>, runtime: &Runtime) -> Result<(), Failure> {
    let uses = runtime.storage.client_key_uses().await?;
    let pinned = uses.iter().find(|it| it.kid == kid);
    match pinned.map(|it| it.sessions) {
        Some(sessions) if !confirmed(kid, force)? => Err(anyhow!(
            "{sessions} session(s) are bound to {kid} and lost without it: their people would have \
             to sign in again; wait until they ended, or say `--force {kid}`"
        )
        .into()),
        _ => Ok(()),
    }
}

/// Whether the id was typed once more, and rightly.
fn confirmed(kid: &str, force: Option<&str>) -> Result<bool, Failure> {
    match force {
        None => Ok(false),
        Some(typed) if typed == kid => Ok(true),
        Some(typed) => Err(Failure::usage(
            anyhow!("`{typed}` is another key").context("--force"),
        )),
    }
}
