//! Accounts: what AIP last proved about a DID. A handle is a display name, never a key.

use aip_atproto::{Did, Handle, Origin};
use aip_base::Timestamp;
use async_trait::async_trait;

use crate::StorageError;

/// What the last identity proof found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub did: Did,
    /// Its handle if it held in both directions; `None` is shown as `handle.invalid`.
    pub handle: Option<Handle>,
    /// Its PDS.
    pub pds: Origin,
    /// Its e-mail address as its PDS gave it, if the person shared it.
    pub email: Option<Email>,
    /// When this was proved.
    pub proven_at: Timestamp,
}

/// An address as the account's PDS reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The address.
    pub address: String,
    /// Whether the PDS says that the person confirmed it.
    pub confirmed: bool,
}

/// What is known of accounts.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Inserts or replaces what is known of the account. An absent e-mail keeps the stored one.
    async fn put_account(&self, account: &Account) -> Result<(), StorageError>;

    /// What is known of the account.
    async fn account(&self, did: &Did) -> Result<Option<Account>, StorageError>;
}
