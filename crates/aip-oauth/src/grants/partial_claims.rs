//! What is known of a person when an answer stops waiting for the rest: one slow source does not cost it
//! what another one has told.

use std::sync::{Arc, OnceLock};

use aip_storage::StorageError;
use aip_storage::account::Account;
use aip_storage::grant::Grant;
use async_trait::async_trait;

use crate::claims::{ClaimedEmail, Emails, Profiles, PublicProfile};

/// Asks others, for one answer, and keeps what they tell.
pub(super) struct ClaimsReader {
    pub(super) emails: Arc<dyn Emails>,
    pub(super) profiles: Arc<dyn Profiles>,
    pub(super) email: OnceLock<ClaimedEmail>,
    pub(super) profile: OnceLock<PublicProfile>,
}

#[async_trait]
impl Emails for ClaimsReader {
    async fn email(&self, grant: &Grant) -> Result<Option<ClaimedEmail>, StorageError> {
        let told = self.emails.email(grant).await?;
        Ok(told.map(|email| self.email.get_or_init(|| email).clone()))
    }
}

#[async_trait]
impl Profiles for ClaimsReader {
    async fn profile(&self, account: &Account) -> Option<PublicProfile> {
        let shown = self.profiles.profile(account).await?;
        Some(self.profile.get_or_init(|| shown).clone())
    }
}

/// What was read; it asks nobody.
pub(super) struct ReadClaims {
    pub(super) email: Option<ClaimedEmail>,
    pub(super) profile: Option<PublicProfile>,
}

#[async_trait]
impl Emails for ReadClaims {
    async fn email(&self, _grant: &Grant) -> Result<Option<ClaimedEmail>, StorageError> {
        Ok(self.email.clone())
    }
}

#[async_trait]
impl Profiles for ReadClaims {
    async fn profile(&self, _account: &Account) -> Option<PublicProfile> {
        self.profile.clone()
    }
}
