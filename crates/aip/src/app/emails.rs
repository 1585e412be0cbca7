//! The e-mail addresses that PDSs tell, as claims.

use aip_oauth::claims::{ClaimedEmail, Emails};
use aip_sessions::AccountEmails;
use aip_storage::StorageError;
use aip_storage::grant::Grant;
use async_trait::async_trait;

/// Asks the session that a grant belongs to.
pub(super) struct PdsEmails(pub(super) AccountEmails);

#[async_trait]
impl Emails for PdsEmails {
    async fn email(&self, grant: &Grant) -> Result<Option<ClaimedEmail>, StorageError> {
        let known = self.0.of_session(grant.upstream_session).await?;
        Ok(known.map(|it| ClaimedEmail {
            address: it.address,
            verified: it.verified,
        }))
    }
}
