//! `aip keys list`: every key with what depends on it.

use std::time::Duration;

use aip_base::{Clock as _, RowId, SystemClock};
use aip_config::LoadedConfig;
use aip_keys::Purpose;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Format, Row, words_for};
use crate::rekeying::sealed_with;
use crate::runtime::{Runtime, master_keys, signing_keys};

/// A key as it is printed.
#[derive(Serialize)]
struct Shown {
    kid: String,
    purpose: &'static str,
    alg: String,
    state: &'static str,
    /// Seconds since it was made, where its id tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<u64>,
    /// Sessions that are bound to an upstream key.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<u64>,
    /// Values that are sealed with a master key.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_values: Option<u64>,
}

impl Row for Shown {
    const COLUMNS: &'static [&'static str] = &[
        "key id",
        "purpose",
        "algorithm",
        "state",
        "age",
        "needed by",
    ];
    const NONE: &'static str = "There is no key.";

    fn cells(&self) -> Vec<String> {
        let age = self.age.map(Duration::from_secs);
        let needed = match (self.sessions, self.sealed_values) {
            (Some(sessions), _) => format!("{sessions} session(s)"),
            (None, Some(values)) => format!("{values} sealed value(s)"),
            (None, None) => "-".to_owned(),
        };
        vec![
            self.kid.clone(),
            self.purpose.to_owned(),
            self.alg.clone(),
            self.state.to_owned(),
            age.map_or_else(|| "-".to_owned(), words_for),
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
    let sessions = |kid: &str| {
        let found = uses.iter().find(|it| it.kid == kid);
        found.map_or(0, |it| it.sessions)
    };
    let set = signing_keys(&runtime.data_dir, loaded)?;
    let mut rows: Vec<Shown> = set
        .list()
        .map(|key| Shown {
            kid: key.kid.to_owned(),
            purpose: key.purpose.as_str(),
            alg: key.alg.to_string(),
            state: key.state.as_str(),
            age: age(key.kid).map(|age| age.as_secs()),
            sessions: (key.purpose == Purpose::Upstream).then(|| sessions(key.kid)),
            sealed_values: None,
        })
        .collect();
    let master = master_keys(&runtime.data_dir, loaded)?;
    for kid in master.kids() {
        rows.push(Shown {
            kid: kid.to_owned(),
            purpose: "master",
            alg: "A256GCM".to_owned(),
            state: if kid == master.primary() {
                "active"
            } else {
                "opens"
            },
            age: None,
            sessions: None,
            sealed_values: Some(sealed_with(&*runtime.storage, kid).await?),
        });
    }
    Ok(format.list(&rows)?)
}

/// How long ago a key was made, if AIP made it.
pub(super) fn age(kid: &str) -> Option<Duration> {
    let id: RowId = kid.parse().ok()?;
    Some(SystemClock.now().since(id.created_at()?))
}
