//! Sessions that have ended at AIP are revoked at their PDS too, until it has heard of it.

use std::sync::Arc;
use std::time::Duration;

use aip_pds::Trace;
use aip_storage::upstream::{Credential, DueRevocation};

use super::scheduler::join_all_limited;
use super::{Keeper, KeeperError};
use crate::session_sealer::Column;

/// Between two tries for one session; longer than a batch takes.
const RETRY_INTERVAL: Duration = Duration::from_mins(5);
/// After so many tries (half a day) the tokens are left to age out: the PDS is gone.
const MAX_ATTEMPTS: u32 = 150;
/// How many are claimed at once.
const CLAIM_BATCH_SIZE: u32 = 20;

impl Keeper {
    /// Revokes what is due at its PDS.
    pub(super) async fn revoke_due(self: &Arc<Self>) -> Result<(), KeeperError> {
        let now = self.upstream.clock.now();
        let due = self
            .upstream
            .storage
            .claim_revocations(now, now + RETRY_INTERVAL, CLAIM_BATCH_SIZE)
            .await?;
        let revocations = due.into_iter().map(|revocation| {
            let keeper = Arc::clone(self);
            async move { keeper.revoke_and_settle(&revocation).await }
        });
        join_all_limited(revocations).await.into_iter().collect()
    }

    async fn revoke_and_settle(&self, revocation: &DueRevocation) -> Result<(), KeeperError> {
        let id = revocation.session.id;
        match self.revoke_at_pds(revocation).await {
            Ok(()) => {}
            Err(what) if revocation.attempts < MAX_ATTEMPTS => {
                tracing::warn!(session = %id, what, attempts = revocation.attempts, "revocation at the PDS failed, retrying");
                return Ok(());
            }
            Err(what) => {
                tracing::error!(session = %id, what, "revocation at the PDS failed, giving up");
            }
        }
        Ok(self.upstream.storage.revocation_done(id).await?)
    }

    /// The error is words for the log.
    async fn revoke_at_pds(&self, due: &DueRevocation) -> Result<(), String> {
        let session = &due.session;
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let tokens = &session.tokens;
        let token = match &tokens.refresh {
            Some(refresh) => self
                .upstream
                .sealer
                .open(refresh, Column::RefreshToken, session.id),
            None => self
                .upstream
                .sealer
                .open(&tokens.access, Column::AccessToken, session.id),
        };
        let token = token.map_err(|e| words(&e))?;
        let oauth = match &session.credential {
            Credential::OAuth(oauth) => oauth,
            Credential::AppPassword(_) => {
                let deleted = self
                    .upstream
                    .pds
                    .delete_password_session(&session.pds, &token);
                return deleted.await.map_err(|e| words(&e));
            }
        };
        let keys = self.keys(session.id, oauth).map_err(|e| words(&e))?;
        let server = self
            .upstream
            .pds
            .server(&oauth.issuer, &mut Trace::default())
            .await
            .map_err(|e| words(&e))?;
        self.upstream
            .pds
            .revoke(&keys, &server, &token)
            .await
            .map_err(|e| words(&e))
    }
}
