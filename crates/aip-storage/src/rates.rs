//! Rate limits: the generic cell rate algorithm (GCRA, ITU-T I.371), one statement per decision.
//!
//! Of each key only one instant is kept, the *theoretical arrival time*: when the last permitted
//! call would have come at the steady rate. A call is permitted while that instant is at most the
//! burst's worth ahead of now.

use std::time::Duration;

use aip_base::Timestamp;
use async_trait::async_trait;

use crate::StorageError;

/// How much is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many calls at once, at least 1.
    pub burst: u32,
    /// After how long one more is permitted.
    pub every: Duration,
}

/// The decision on one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Permitted, and counted.
    Permitted,
    /// Refused, and not counted.
    Refused {
        /// When the next call is permitted.
        retry_after: Duration,
    },
}

/// Counts calls by key, over all replicas.
#[async_trait]
pub trait RateLimits: Send + Sync + 'static {
    /// Counts a call under `key` if `quota` permits it. `now` is the caller's clock; a key that is
    /// not called for `burst * every` may be forgotten.
    async fn take(&self, key: &str, quota: Quota, now: Timestamp) -> Result<Verdict, StorageError>;
}

impl Quota {
    /// How far ahead of now the theoretical arrival time may be before the next call is refused.
    pub fn tolerance(self) -> Duration {
        self.every * self.burst.saturating_sub(1)
    }
}
