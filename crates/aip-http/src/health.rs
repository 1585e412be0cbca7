//! How the process is, which the binary tells the probes.

use async_trait::async_trait;

/// How the process is.
#[async_trait]
pub trait Health: Send + Sync + 'static {
    /// Whether start-up is over.
    fn started(&self) -> bool;

    /// Whether requests can be taken: the database answers, and no shut-down has begun.
    async fn ready(&self) -> bool;
}
