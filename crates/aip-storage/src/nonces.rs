//! `DPoP` nonces that the replicas share: the newest one of each server (RFC 9449 §8).
//!
//! A lost nonce costs one more round trip to the PDS and nothing else.

use aip_atproto::Origin;
use aip_base::Timestamp;
use async_trait::async_trait;
use strum::IntoStaticStr;

use crate::StorageError;

/// In which role a server gave a nonce. Nonces never cross over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ServerRole {
    /// Authorization server.
    Authorization,
    /// Resource server.
    Resource,
}

/// A nonce and when it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedNonce {
    /// The value of the `DPoP-Nonce` header.
    pub nonce: String,
    /// When the server gave it.
    pub at: Timestamp,
}

/// Where replicas tell each other the newest nonce of a server.
#[async_trait]
pub trait SharedNonces: Send + Sync + 'static {
    /// The newest nonce that any replica was given.
    async fn newest_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
    ) -> Result<Option<ReceivedNonce>, StorageError>;

    /// Offers a nonce; an older one than the known is ignored, in the same statement.
    async fn offer_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
        given: &ReceivedNonce,
    ) -> Result<(), StorageError>;
}
