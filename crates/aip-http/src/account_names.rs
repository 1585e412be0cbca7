//! How an account is called on pages and in claims: its handle while that holds in both
//! directions, otherwise `handle.invalid` (AT Protocol, "Handle", "Handle Resolution").

use aip_atproto::Did;
use aip_oauth::claims::INVALID_HANDLE;
use aip_storage::StorageError;

use crate::state::AppState;

/// An account as pages show it.
#[derive(Debug, Clone)]
pub(crate) struct AccountName {
    /// The verified handle, or the placeholder.
    pub(crate) handle: String,
    /// The DID.
    pub(crate) did: String,
}

impl AppState {
    /// The name of an account.
    pub(crate) async fn account_name(&self, did: &Did) -> Result<AccountName, StorageError> {
        let account = self.storage().account(did).await?;
        let handle = account.and_then(|account| account.handle);
        Ok(AccountName {
            handle: handle.map_or_else(|| INVALID_HANDLE.to_owned(), |it| it.as_str().to_owned()),
            did: did.as_str().to_owned(),
        })
    }
}
