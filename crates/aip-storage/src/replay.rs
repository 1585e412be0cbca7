//! The replay guard: values that may be seen once (DPoP `jti`, RFC 9449 §11.1), on all replicas.

use aip_base::Timestamp;
use aip_keys::TokenHash;
use async_trait::async_trait;

use crate::StorageError;

/// The outcome of claiming a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Never seen before; it is taken now.
    Fresh,
    /// Seen before.
    Seen,
}

/// Values that may be used once.
#[async_trait]
pub trait Replays: Send + Sync {
    /// Claims the value behind `key` in one statement; the claim may be forgotten after `until`,
    /// when the value itself is refused for its age.
    async fn claim_once(&self, key: &TokenHash, until: Timestamp) -> Result<Claim, StorageError>;
}
