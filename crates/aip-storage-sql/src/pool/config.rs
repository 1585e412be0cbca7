//! The limits and timeouts of a pool.

use std::time::Duration;

/// The limits and timeouts of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolConfig {
    /// The `pool` label in metrics.
    pub(crate) name: &'static str,
    /// The most connections open at a time.
    pub(crate) max_connections: u32,
    /// How long a caller waits for a connection.
    pub(crate) acquire_timeout: Duration,
    /// Older ones are replaced, and those that were not needed for so long are closed.
    pub(crate) max_age: Duration,
    /// One that was idle for longer is tested before it is used.
    pub(crate) test_after_idle: Duration,
    /// How long a statement may take; then its connection is closed.
    pub(crate) statement_timeout: Duration,
    /// Off behind a pooler that gives each transaction another connection to the server. Then
    /// every statement is prepared anew, in the transaction in which it runs.
    pub(crate) prepares_statements: bool,
}
