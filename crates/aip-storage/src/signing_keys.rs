//! The key set that AIP signs with, where the database holds it: one sealed value for all replicas.

use aip_keys::Sealed;
use async_trait::async_trait;

use crate::StorageError;

/// The key set as it is stored.
#[derive(Debug, Clone)]
pub struct StoredKeySet {
    /// Grows by one with each change.
    pub generation: u64,
    /// The JWK Set with its private keys, sealed
    /// (column [`SigningKeys`](crate::operations::SealedColumn::SigningKeys), row
    /// [`KEY_SET_ROW`]).
    pub sealed: Sealed,
}

/// The id of the one row.
pub const KEY_SET_ROW: &str = "all";

/// Verbs for the key set.
#[async_trait]
pub trait SigningKeySets: Send + Sync {
    /// The key set, if the database holds one.
    async fn signing_key_set(&self) -> Result<Option<StoredKeySet>, StorageError>;

    /// Stores the first key set unless there is one. Whether it was the first.
    async fn begin_signing_key_set(&self, sealed: &Sealed) -> Result<bool, StorageError>;

    /// Puts a key set in the place of the one of `generation`, in one statement. Whether it did: not
    /// when another process has changed the set since it was read.
    async fn replace_signing_key_set(
        &self,
        generation: u64,
        sealed: &Sealed,
    ) -> Result<bool, StorageError>;
}
