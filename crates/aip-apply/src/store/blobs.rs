//! Named bytes with conditional writes: all that the state asks of a store.

use async_trait::async_trait;
use bytes::Bytes;

use super::StoreError;

/// Names a state of an object; a write can demand that it is still this one.
pub(super) type Version = String;

/// Outcome of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// It was made; the object has this version now.
    Done(Version),
    /// The object is not as demanded. Nothing was written.
    Changed,
}

/// A folder or a bucket.
#[async_trait]
pub(super) trait Blobs: Send + Sync {
    /// How to call the store in messages; without credentials.
    fn url(&self) -> &str;

    /// The object and its version.
    async fn get(&self, path: &str) -> Result<Option<(Bytes, Version)>, StoreError>;

    /// Makes an object that is not there yet.
    async fn create(&self, path: &str, content: Bytes) -> Result<WriteOutcome, StoreError>;

    /// Replaces an object that still has `version`.
    async fn replace(
        &self,
        path: &str,
        content: Bytes,
        version: &Version,
    ) -> Result<WriteOutcome, StoreError>;

    /// Removes an object; one that is not there is fine.
    async fn remove(&self, path: &str) -> Result<(), StoreError>;

    /// The paths of all objects below a prefix that ends in `/`, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
}
