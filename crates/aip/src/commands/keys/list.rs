//! `aip keys list`: every key with what depends on it.

use std::time::Duration;

use aip_base::{Clock as _, SystemClock, Timestamp};
use aip_config::LoadedConfig;
use aip_keys::{KeyInfo, KeyState, Purpose};
use aip_storage::operations::ClientKeyUse;
use serde::Serialize;

use super::change::unbound_by;

use crate::failure::Failure;
use crate::output::{Format, Row, human_duration, instant};
use crate::rekeying::sealed_with;
use crate::runtime::{Runtime, master_keys};

/// A key as it is printed.
#[derive(Serialize)]
struct PrintedKey {
    kid: String,
    purpose: &'static str,
    alg: String,
    state: &'static str,
    /// Seconds since it was made, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<u64>,
    #[serde(flatten)]
    times: Times,
    /// Sessions that are bound to an upstream key.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<u64>,
    /// By when the last of them has ended, if no more begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions_end_by: Option<String>,
    /// Values that are sealed with a master key.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_values: Option<u64>,
}

/// When a signing key came into its states (RFC 3339), where that is known.
#[derive(Serialize, Default)]
struct Times {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_since: Option<String>,
    /// Since when it is in its state.
    #[serde(skip)]
    since: Option<String>,
}

impl Row for PrintedKey {
    const COLUMNS: &'static [&'static str] = &[
        "key id",
        "purpose",
        "algorithm",
        "state",
        "since",
        "age",
        "needed by",
    ];
    const NONE: &'static str = "There is no key.";

    fn cells(&self) -> Vec<String> {
        let age = self.age.map(Duration::from_secs);
        let needed = match (self.sessions, self.sealed_values) {
            (Some(sessions), _) => match &self.sessions_end_by {
                Some(by) => format!("{sessions} session(s), until {by}"),
                None => format!("{sessions} session(s)"),
            },
            (None, Some(values)) => format!("{values} sealed value(s)"),
            (None, None) => "-".to_owned(),
        };
        vec![
            self.kid.clone(),
            self.purpose.to_owned(),
            self.alg.clone(),
            self.state.to_owned(),
            self.times.since.clone().unwrap_or_else(|| "-".to_owned()),
            age.map_or_else(|| "-".to_owned(), human_duration),
            needed,
        ]
    }
}

pub(super) async fn list(
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let uses = runtime.storage.client_key_uses().await?;
    let set = runtime.signing_keys(loaded).await?;
    let now = SystemClock.now();
    let mut rows: Vec<PrintedKey> = set.list().map(|key| signing(&key, &uses, now)).collect();
    let master = master_keys(&runtime.data_dir, loaded)?;
    for kid in master.kids() {
        rows.push(PrintedKey {
            kid: kid.to_owned(),
            purpose: "master",
            alg: "A256GCM".to_owned(),
            state: if kid == master.primary() {
                "active"
            } else {
                "opens"
            },
            age: None,
            times: Times::default(),
            sessions: None,
            sessions_end_by: None,
            sealed_values: Some(sealed_with(&*runtime.storage, kid).await?),
        });
    }
    Ok(format.list(&rows)?)
}

fn signing(key: &KeyInfo<'_>, uses: &[ClientKeyUse], now: Timestamp) -> PrintedKey {
    let times = &key.times;
    let bound = uses.iter().find(|it| it.kid == key.kid);
    let bound = bound.filter(|_| key.purpose == Purpose::Upstream);
    let is_active = key.state == KeyState::Active;
    PrintedKey {
        kid: key.kid.to_owned(),
        purpose: key.purpose.as_str(),
        alg: key.alg.to_string(),
        state: key.state.as_str(),
        age: times.created.map(|created| now.since(created).as_secs()),
        times: Times {
            created: times.created.map(instant),
            published_since: times.published.map(instant),
            active_since: times.activated.map(instant),
            superseded_since: times.superseded.map(instant),
            retired_since: times.retired.map(instant),
            since: times.since(key.state).map(instant),
        },
        sessions: (key.purpose == Purpose::Upstream).then(|| bound.map_or(0, |it| it.sessions)),
        sessions_end_by: bound
            .filter(|_| !is_active)
            .map(|bound| instant(unbound_by(bound))),
        sealed_values: None,
    }
}
