//! How the process is, which the binary tells the probes.

use async_trait::async_trait;

/// How the process is.
#[async_trait]
pub trait Health: Send + Sync + 'static {
    /// Whether start-up is complete.
    fn started(&self) -> bool;

    /// Whether requests can be taken: the database answers, the keys that sessions need are there, and
    /// no shut-down has begun. The error says why not, to operators: the public is not told.
    async fn ready(&self) -> Result<(), String>;
}
