//! `aip keys activate|retire|remove`: refused while something would be lost by it.

use std::path::Path;
use std::time::Duration;

use aip_base::{Clock as _, SystemClock, Timestamp};
use aip_config::LoadedConfig;
use aip_keys::{KeySet, KeySetError, Purpose};
use aip_storage::Storage;
use aip_storage::operations::ClientKeyUse;
use aip_storage::upstream::{Credential, EndReason, SessionFilter, UpstreamSession};
use anyhow::{anyhow, bail};
use serde_json::{Value, json};

use super::{Activate, RetireOrRemove, change_key_set, data_dir};
use crate::failure::Failure;
use crate::key_files::{self, KeySetLocation};
use crate::output::{Format, human_duration, instant};
use crate::rekeying::sealed_with;
use crate::runtime::{Runtime, master_keys};
use crate::settings::key_rotation;

/// The longest life of a session of a confidential client at PDSs of the reference implementation. The
/// specification sets no limit (<https://atproto.com/specs/oauth#tokens-and-session-lifetime>).
const MAX_SESSION_LIFETIME: Duration = Duration::from_hours(24 * 730);
/// Sessions that are read at a time.
const SESSIONS_PAGE: u32 = 500;

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
            "{kid} seals from now on, as {} has it. Send SIGHUP to every server; then `aip keys rekey`.",
            path.display()
        );
        return Ok(format.done(&changed(kid, "active", Some(&path)), &words)?);
    }
    let named = !keys.active_signing_keys.is_empty();
    let known_after = key_rotation(&loaded.config).publish_before_use;
    let ((), place) = change_key_set(loaded, |set, now| {
        may_activate(set, wanted, named, known_after, now)?;
        Ok(set.activate(kid, now)?)
    })?;
    let words = format!(
        "{kid} signs from now on, as {place} has it. {}.",
        place.change_notice()
    );
    Ok(format.done(&changed(kid, "active", place.file()), &words)?)
}

/// Refuses when a setting says which key signs, and when others may not know the key yet.
fn may_activate(
    set: &KeySet,
    wanted: &Activate,
    named: bool,
    known_after: Duration,
    now: Timestamp,
) -> anyhow::Result<()> {
    let kid = &wanted.kid;
    let Some(key) = set.list().find(|key| key.kid == kid) else {
        return Ok(());
    };
    if key.purpose == Purpose::Upstream && named {
        bail!(
            "keys.active_signing_keys names the active upstream keys, whatever the file says: put \
             `{kid}` first there"
        );
    }
    let published = key.times.published.or(key.times.created);
    let known_for = published.map(|published| now.since(published));
    match known_for.filter(|known_for| *known_for < known_after && !wanted.now) {
        None => Ok(()),
        Some(known_for) => bail!(
            "the key is published since {}, and others may go on with the public keys they have read \
             for {}: wait, or say `--now`",
            human_duration(known_for),
            human_duration(known_after)
        ),
    }
}

pub(super) async fn retire(
    unwanted: &RetireOrRemove,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let kid = &unwanted.kid;
    if master_keys(&runtime.data_dir, loaded)?
        .kids()
        .any(|it| it == kid)
    {
        return Err(Failure::Usage(anyhow!(
            "a master key is not retired: activate another one, `aip keys rekey`, `aip keys remove`"
        )));
    }
    let now = SystemClock.now();
    try_change(runtime, loaded, |set| set.retire(kid, now)).await?;
    let ended = end_bound_sessions(unwanted, runtime).await?;
    let ((), place) =
        key_files::change_key_set(runtime, loaded, |set, now| Ok(set.retire(kid, now)?)).await?;
    let words = format!(
        "{kid} is retired, as {place} has it. {}.{}",
        place.change_notice(),
        ended_sessions_text(ended)
    );
    Ok(format.done(&changed(kid, "retired", place.file()), &words)?)
}

pub(super) async fn remove(
    unwanted: &RetireOrRemove,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let kid = &unwanted.kid;
    let is_master = master_keys(&runtime.data_dir, loaded)?
        .kids()
        .any(|it| it == kid);
    let (place, ended) = if is_master {
        (remove_master(unwanted, runtime, loaded).await?, 0)
    } else {
        let set = runtime.signing_keys(loaded).await?;
        if !set.list().any(|key| key.kid == kid) && pinned(kid, &*runtime.storage).await?.is_some()
        {
            let ended = end_bound_sessions(unwanted, runtime).await?;
            let words = format!(
                "There is no key {kid} any more.{}",
                ended_sessions_text(ended)
            );
            return Ok(format.done(&changed(kid, "removed", None), &words)?);
        }
        try_change(runtime, loaded, |set| set.remove(kid)).await?;
        let ended = end_bound_sessions(unwanted, runtime).await?;
        let change = key_files::change_key_set(runtime, loaded, |set, _| Ok(set.remove(kid)?));
        (change.await?.1, ended)
    };
    let words = format!(
        "{kid} is removed from {place}.{}",
        ended_sessions_text(ended)
    );
    Ok(format.done(&changed(kid, "removed", place.file()), &words)?)
}

async fn remove_master(
    unwanted: &RetireOrRemove,
    runtime: &Runtime,
    loaded: &LoadedConfig,
) -> Result<KeySetLocation, Failure> {
    let RetireOrRemove { kid, force } = unwanted;
    let values = sealed_with(&*runtime.storage, kid).await?;
    if values > 0 && !confirmed(values, "value(s) are sealed with it", *force)? {
        return Err(anyhow!(
            "{values} value(s) in the database are sealed with {kid} and lost without it: \
             `aip keys rekey` first"
        )
        .into());
    }
    let keys = &loaded.config.keys;
    let change = runtime
        .data_dir
        .change_master_keys(keys, |master| Ok(master.remove(kid)?));
    Ok(KeySetLocation::File(change?.1))
}

/// Refuses what the key set refuses, and a set that cannot be written, before anything is lost.
async fn try_change(
    runtime: &Runtime,
    loaded: &LoadedConfig,
    change: impl FnOnce(&mut KeySet) -> Result<(), KeySetError>,
) -> anyhow::Result<()> {
    key_files::refuse_unwritable(&loaded.config.keys)?;
    let mut set = runtime.signing_keys(loaded).await?;
    Ok(change(&mut set)?)
}

fn changed(kid: &str, state: &str, file: Option<&Path>) -> Value {
    json!({"kid": kid, "state": state, "file": file})
}

fn ended_sessions_text(ended: u64) -> String {
    match ended {
        0 => String::new(),
        ended => format!(" {ended} session(s) ended with it: their people must sign in again."),
    }
}

async fn pinned(kid: &str, storage: &dyn Storage) -> Result<Option<ClientKeyUse>, Failure> {
    let uses = storage.client_key_uses().await?;
    Ok(uses.into_iter().find(|it| it.kid == kid))
}

/// By when the last session that is bound to a key has ended, where PDSs end sessions by age.
pub(super) fn unbound_by(bound: &ClientKeyUse) -> Timestamp {
    bound.newest_began_at + MAX_SESSION_LIFETIME
}

/// Refuses when sessions are bound to the key, unless their number was typed: then they end here, too,
/// so that nobody waits for what cannot come back. How many ended.
async fn end_bound_sessions(unwanted: &RetireOrRemove, runtime: &Runtime) -> Result<u64, Failure> {
    let RetireOrRemove { kid, force } = unwanted;
    let storage = &*runtime.storage;
    let Some(bound) = pinned(kid, storage).await? else {
        return Ok(0);
    };
    let sessions = bound.sessions;
    if !confirmed(sessions, "session(s) are bound to it", *force)? {
        return Err(anyhow!(
            "{sessions} session(s) are bound to {kid} and lost without it: their people would have \
             to sign in again. The last of them ends by {} (PDSs of the reference implementation end a \
             session after {}): wait until then, or lose them with `--force {sessions}`",
            instant(unbound_by(&bound)),
            human_duration(MAX_SESSION_LIFETIME),
        )
        .into());
    }
    end_sessions(kid, storage).await
}

/// Ends every session that is bound to the key, and forgets the held ones and the devices whose own ones are.
/// Without the key no PDS can be told.
async fn end_sessions(kid: &str, storage: &dyn Storage) -> Result<u64, Failure> {
    let is_bound = |session: &UpstreamSession| match &session.credential {
        Credential::OAuth(oauth) => oauth.client_key_id.as_deref() == Some(kid),
        Credential::AppPassword(_) => false,
    };
    let mut ended = storage.forget_assertion_keys(kid).await?;
    ended += storage.forget_held_sessions(kid).await?;
    let mut after = None;
    loop {
        let page = storage
            .list_upstream_sessions(&SessionFilter::default(), after, SESSIONS_PAGE)
            .await?;
        let read = after;
        for session in page.into_iter().flatten() {
            after = Some(session.id);
            if is_bound(&session) {
                let now = SystemClock.now();
                let end = storage.end_upstream_session(session.id, EndReason::ByOperator, now);
                ended += u64::from(end.await?);
                storage.revocation_done(session.id).await?;
            }
        }
        // Nothing is left, or nothing that can be read.
        if after == read {
            return Ok(ended);
        }
    }
}

/// Whether the number of what is lost was typed, and rightly.
fn confirmed(number: u64, of_what: &str, force: Option<u64>) -> Result<bool, Failure> {
    match force {
        None => Ok(false),
        Some(typed) if typed == number => Ok(true),
        Some(typed) => Err(Failure::usage(
            anyhow!("{number} {of_what}, not {typed}").context("--force"),
        )),
    }
}
