//! When a key came to its states: members of its JWK that other software ignores, the same as those of
//! `aip keys`. Each is a whole number of seconds since the epoch (`NumericDate`, RFC 7519 §2).

use aip_base::{RowId, Timestamp};
use serde::Serialize;
use serde_json::Value;

/// When the key was generated.
pub(super) const CREATED: &str = "aip_created";
/// Since when it is in the public set.
pub(super) const PUBLISHED: &str = "aip_published_since";
/// Since when it signs what is new, or when it began to.
pub(super) const ACTIVATED: &str = "aip_active_since";
/// Since when another key signs what is new.
pub(super) const SUPERSEDED: &str = "aip_superseded_since";
/// When it was taken out of the public set.
pub(super) const RETIRED: &str = "aip_retired_since";

/// When a key came to its states; none where its JWK does not say. Seconds since the epoch in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KeyTimes {
    /// It was generated.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// It came into the public set.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub published: Option<Timestamp>,
    /// It began to sign.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub activated: Option<Timestamp>,
    /// Another key took over.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub superseded: Option<Timestamp>,
    /// It was taken out of the public set.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub retired: Option<Timestamp>,
}

#[allow(clippy::ref_option, reason = "the form that serde calls")]
fn seconds<S: serde::Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    at.map(Timestamp::as_secs).serialize(to)
}

impl KeyTimes {
    /// As the JWK has them. What is not a number says nothing. When a key was made, the id of one that
    /// AIP made tells, too.
    pub(super) fn of(key: &Value) -> Self {
        let read = |member: &str| key[member].as_i64().map(Timestamp::from_secs);
        let of_id = || key["kid"].as_str()?.parse::<RowId>().ok()?.created_at();
        Self {
            created: read(CREATED).or_else(of_id),
            published: read(PUBLISHED),
            activated: read(ACTIVATED),
            superseded: read(SUPERSEDED),
            retired: read(RETIRED),
        }
    }

    /// The latest of them.
    pub(super) fn last(self) -> Option<Timestamp> {
        let all = [
            self.created,
            self.published,
            self.activated,
            self.superseded,
            self.retired,
        ];
        all.into_iter().flatten().max()
    }
}

/// Notes a time in the JWK.
pub(super) fn set(key: &mut Value, member: &str, at: Timestamp) {
    key[member] = at.as_secs().into();
}

/// Takes a time out of the JWK.
pub(super) fn forget(key: &mut Value, member: &str) {
    if let Some(members) = key.as_object_mut() {
        members.remove(member);
    }
}
