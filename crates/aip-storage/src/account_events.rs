//! What is kept of the events of the network: which accounts are paused, because their PDS says that
//! they are not in use, and how far each stream of events was read.

use aip_atproto::Did;
use aip_base::Timestamp;
use async_trait::async_trait;

use crate::StorageError;

/// What is kept of events.
#[async_trait]
pub trait AccountEvents: Send + Sync {
    /// Which of these accounts anybody here has a session of: a live grant is for them, or a live
    /// delegation is theirs. Those that are paused, too: their pause must end, whoever is back. One
    /// statement for every 16.
    async fn accounts_known(&self, dids: &[Did]) -> Result<Vec<Did>, StorageError>;

    /// Pauses an account: its sessions that come due are claimed as paused
    /// ([`Claim::paused`](crate::refresh::Claim::paused)) from now on. `status` is the word of its PDS.
    async fn pause_account(
        &self,
        did: &Did,
        status: &str,
        now: Timestamp,
    ) -> Result<(), StorageError>;

    /// Ends the pause of an account. Of its sessions those that were put off are due now: those whose
    /// tokens are from before `overdue`, and those whose last attempt has failed. Whether it was
    /// paused.
    async fn resume_account(
        &self,
        did: &Did,
        overdue: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// The paused accounts after `after`, in the order of their DIDs, at most `limit`.
    async fn paused_accounts(
        &self,
        after: Option<&Did>,
        limit: u32,
    ) -> Result<Vec<Did>, StorageError>;

    /// How far the stream `source` was read.
    async fn event_cursor(&self, source: &str) -> Result<Option<i64>, StorageError>;

    /// Keeps how far it was read.
    async fn keep_event_cursor(
        &self,
        source: &str,
        cursor: i64,
        now: Timestamp,
    ) -> Result<(), StorageError>;
}
