//! Accounts: what AIP last proved about a DID. A handle is a display name, never a key.

use aip_atproto::{Did, Handle, Origin};
use aip_base::Timestamp;
use async_trait::async_trait;

use crate::StorageError;

/// What the last identity proof found: public facts only. What a person shared with one app, such
/// as an e-mail address, belongs to that app's session (`upstream::EmailReading`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub did: Did,
    /// Its handle if it held in both directions; `None` is shown as `handle.invalid`.
    pub handle: Option<Handle>,
    /// The PDS that its DID document named.
    pub pds: Origin,
    /// When this was proved.
    pub proven_at: Timestamp,
}

/// What is known of accounts.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Inserts or replaces what is known of the account.
    async fn put_account(&self, account: &Account) -> Result<(), StorageError>;

    /// What is known of the account.
    async fn account(&self, did: &Did) -> Result<Option<Account>, StorageError>;
}
