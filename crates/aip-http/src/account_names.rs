//! How an account is called on pages and in claims: its handle while that holds in both
//! directions, otherwise `handle.invalid` (AT Protocol, "Handle", "Handle Resolution").

use aip_atproto::{Did, Handle};
use aip_oauth::claims::INVALID_HANDLE;
use aip_storage::StorageError;

use crate::pages::AccountName;
use crate::state::AppState;

impl AppState {
    pub(crate) async fn account_name(&self, did: &Did) -> Result<AccountName, StorageError> {
        let account = self.storage().account(did).await?;
        let handle = account.and_then(|account| account.handle);
        Ok(AccountName::new(did, handle.as_ref()))
    }
}

impl AccountName {
    /// The name of `did` with its verified handle.
    pub(crate) fn new(did: &Did, handle: Option<&Handle>) -> Self {
        Self {
            handle: handle.map_or(INVALID_HANDLE, Handle::as_str).to_owned(),
            did: did.as_str().to_owned(),
        }
    }
}
