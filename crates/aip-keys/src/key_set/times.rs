//! When a key came into each of its states, as members of its JWK that other software ignores
//! (RFC 7517 §4).
//!
//! | member | since then the key |
//! | --- | --- |
//! | `aip_created` | exists |
//! | `aip_published_since` | is in the public set |
//! | `aip_active_since` | signs what is new, or signed it until it was superseded |
//! | `aip_superseded_since` | is published only: another key signs what is new |
//! | `aip_retired_since` | is not in the public set any more |
//!
//! Each is a number of seconds since the epoch, as `NumericDate` of RFC 7519 §2 is, without a
//! fraction. A member that is missing is not known, as in files of older versions.

use aip_base::{RowId, Timestamp};
use serde_json::{Map, Value};

use super::KeyState;

/// When a key came into each of its states, to the second; `None` where that is not known, or has
/// not happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyTimes {
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Since when it is in the public set.
    pub published: Option<Timestamp>,
    /// Since when it signs what is new, or when it began to.
    pub activated: Option<Timestamp>,
    /// Since when another key signs what is new.
    pub superseded: Option<Timestamp>,
    /// Since when it is not in the public set any more.
    pub retired: Option<Timestamp>,
}

const CREATED: &str = "aip_created";
const PUBLISHED: &str = "aip_published_since";
const ACTIVATED: &str = "aip_active_since";
const SUPERSEDED: &str = "aip_superseded_since";
const RETIRED: &str = "aip_retired_since";

impl KeyTimes {
    /// Of a key that is made at `now` and published at once.
    pub(super) fn published_at(now: Timestamp) -> Self {
        Self {
            created: Some(whole_seconds(now)),
            published: Some(whole_seconds(now)),
            ..Self::default()
        }
    }

    /// Since when a key is in `state`.
    pub fn since(&self, state: KeyState) -> Option<Timestamp> {
        match state {
            KeyState::Active => self.activated,
            KeyState::Published => self.superseded.or(self.published),
            KeyState::Retired => self.retired,
        }
    }

    pub(super) fn activate(&mut self, now: Timestamp) {
        self.activated = Some(whole_seconds(now));
        self.superseded = None;
    }

    pub(super) fn supersede(&mut self, now: Timestamp) {
        self.superseded = Some(whole_seconds(now));
    }

    pub(super) fn retire(&mut self, now: Timestamp) {
        self.retired = Some(whole_seconds(now));
    }

    /// Fills in what a rotation counts from and is not known: a key that signs did so since it was
    /// made; whether the others were published before `now` nobody can say.
    pub(super) fn complete(&mut self, state: KeyState, now: Timestamp) {
        let now = whole_seconds(now);
        self.published.get_or_insert(now);
        match state {
            KeyState::Active => {
                let created = self.created.unwrap_or(now);
                self.activated.get_or_insert(created);
            }
            KeyState::Published => {}
            KeyState::Retired => {
                self.retired.get_or_insert(now);
            }
        }
    }

    /// Takes the members out of a key; the name of one that is no time is the error. When a key
    /// was made, the id of one that AIP made tells, too.
    pub(super) fn take_from(
        key: &mut Map<String, Value>,
        kid: Option<&str>,
    ) -> Result<Self, &'static str> {
        let mut take = |member| match key.remove(member) {
            None => Ok(None),
            Some(value) => match value.as_i64().filter(|seconds| *seconds >= 0) {
                Some(seconds) => Ok(Some(Timestamp::from_secs(seconds))),
                None => Err(member),
            },
        };
        let made_by_aip = || Some(whole_seconds(kid?.parse::<RowId>().ok()?.created_at()?));
        Ok(Self {
            created: take(CREATED)?.or_else(made_by_aip),
            published: take(PUBLISHED)?,
            activated: take(ACTIVATED)?,
            superseded: take(SUPERSEDED)?,
            retired: take(RETIRED)?,
        })
    }

    pub(super) fn put_into(&self, key: &mut Map<String, Value>) {
        for (member, time) in [
            (CREATED, self.created),
            (PUBLISHED, self.published),
            (ACTIVATED, self.activated),
            (SUPERSEDED, self.superseded),
            (RETIRED, self.retired),
        ] {
            if let Some(time) = time {
                key.insert(member.to_owned(), time.as_secs().into());
            }
        }
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_secs(time.as_secs())
}
