//! What a flow seals besides its keys.

use std::time::Duration;

use aip_atproto::Did;
use aip_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DelegationRequest, DeveloperTokenRequest};

/// An [`DelegationRequest`].
#[derive(Serialize, Deserialize)]
pub(super) struct DelegationSecrets {
    pub(super) delegate: String,
    pub(super) preset: String,
    /// Microseconds since the epoch.
    pub(super) ends_at: i64,
}

impl From<&DelegationRequest> for DelegationSecrets {
    fn from(asked: &DelegationRequest) -> Self {
        Self {
            delegate: asked.delegate.to_string(),
            preset: asked.preset.as_str().to_owned(),
            ends_at: asked.ends_at.as_micros(),
        }
    }
}

impl DelegationSecrets {
    /// What was asked for, if it is readable.
    pub(super) fn asked(&self) -> Option<DelegationRequest> {
        Some(DelegationRequest {
            delegate: Did::parse(&self.delegate).ok()?,
            preset: self.preset.parse().ok()?,
            ends_at: Timestamp::from_micros(self.ends_at),
        })
    }
}

/// An [`DeveloperTokenRequest`].
#[derive(Serialize, Deserialize)]
pub(super) struct TokenSecrets {
    pub(super) name: String,
    pub(super) scope: String,
    /// Seconds.
    pub(super) life: u64,
    /// The id of its order.
    pub(super) order: Option<String>,
}

impl From<&DeveloperTokenRequest> for TokenSecrets {
    fn from(asked: &DeveloperTokenRequest) -> Self {
        Self {
            name: asked.name.to_string(),
            scope: asked.scope.to_string(),
            life: asked.life.as_secs(),
            order: asked.order.map(|it| it.to_string()),
        }
    }
}

impl TokenSecrets {
    /// What was asked for, if it is readable.
    pub(super) fn asked(&self) -> Option<DeveloperTokenRequest> {
        let order = match &self.order {
            None => None,
            Some(id) => Some(id.parse().ok()?),
        };
        Some(DeveloperTokenRequest {
            name: self.name.parse().ok()?,
            scope: self.scope.parse().ok()?,
            life: Duration::from_secs(self.life),
            order,
        })
    }
}
