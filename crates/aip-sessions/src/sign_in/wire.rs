//! What a flow seals besides its keys.

use aip_atproto::Did;
use aip_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::AskedDelegation;

/// An [`AskedDelegation`].
#[derive(Serialize, Deserialize)]
pub(super) struct DelegationSecrets {
    pub(super) delegate: String,
    pub(super) preset: String,
    /// Microseconds since the epoch.
    pub(super) ends_at: i64,
}

impl From<&AskedDelegation> for DelegationSecrets {
    fn from(asked: &AskedDelegation) -> Self {
        Self {
            delegate: asked.delegate.to_string(),
            preset: asked.preset.as_str().to_owned(),
            ends_at: asked.ends_at.as_micros(),
        }
    }
}

impl DelegationSecrets {
    /// What was asked for, if it is readable.
    pub(super) fn asked(&self) -> Option<AskedDelegation> {
        Some(AskedDelegation {
            delegate: Did::parse(&self.delegate).ok()?,
            preset: self.preset.parse().ok()?,
            ends_at: Timestamp::from_micros(self.ends_at),
        })
    }
}
