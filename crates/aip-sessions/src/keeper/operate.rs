//! What is done on purpose: by an operator, or because a PDS rejects what it has just given.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::audit::AuditKind;
use aip_storage::notices::Notice;
use aip_storage::refresh::Settle;
use aip_storage::upstream::{EndReason, ReauthReason, UpstreamSession, UpstreamState};
use tokio::time::Instant;

use super::{Keeper, KeeperError, POLL_INTERVAL, REFRESH_WAIT_TIMEOUT};

/// Clocks of replicas and slow answers differ by less than half of this.
const SHORT_LIFE: Duration = Duration::from_mins(5);

impl Keeper {
    /// Refreshes a session now, however fresh it is and whatever back-off it is in, and returns it
    /// as it is then. For operators; audited.
    pub async fn refresh_now(self: &Arc<Self>, id: RowId) -> Result<UpstreamSession, KeeperError> {
        let before = self.session(id).await?;
        match &before.state {
            UpstreamState::NeedsReauth(reason) => return Err(KeeperError::NeedsReauth(*reason)),
            UpstreamState::Ended(reason) => return Err(KeeperError::Ended(*reason)),
            UpstreamState::Active | UpstreamState::Refreshing(_) | UpstreamState::Uncertain => {}
        }
        let now = self.upstream.clock.now();
        let deadline = Instant::now() + REFRESH_WAIT_TIMEOUT;
        if let Some(until) = self.refresh(&before, now, deadline).await? {
            return Err(KeeperError::Later(until.since(now).max(POLL_INTERVAL)));
        }
        let after = self.session(id).await?;
        let outcome = match &after.state {
            UpstreamState::NeedsReauth(reason) => Err(KeeperError::NeedsReauth(*reason)),
            UpstreamState::Ended(reason) => Err(KeeperError::Ended(*reason)),
            _ if after.generation > before.generation => Ok(after.clone()),
            _ => Err(KeeperError::Later(after.next_refresh_at.since(now))),
        };
        let detail = match &outcome {
            Ok(_) => "by an operator".to_owned(),
            Err(error) => format!("by an operator, in vain: {error}"),
        };
        self.audit(&after, AuditKind::UpstreamRefreshed, &detail)
            .await;
        outcome
    }

    /// Ends a session and the grants that use it. Its PDS hears of it in the keeper's next round.
    /// Whether it was live. For operators; audited.
    pub async fn revoke(&self, id: RowId) -> Result<bool, KeeperError> {
        self.end(id, EndReason::ByOperator).await
    }

    pub(crate) async fn end(&self, id: RowId, reason: EndReason) -> Result<bool, KeeperError> {
        let session = self.session(id).await?;
        let ended = self
            .upstream
            .storage
            .end_upstream_session(id, reason, self.upstream.clock.now())
            .await?;
        if ended {
            self.audit(&session, AuditKind::UpstreamEnded, reason.as_str())
                .await;
            self.publish_settled(id);
            self.notices.publish(&Notice::SessionSettled(id)).await;
        }
        Ok(ended)
    }

    /// A PDS rejects the access token of `generation` although it has just given it: nothing but
    /// the person helps. `false` when the token may have expired on its way, or somebody else's
    /// refresh has just replaced it: then the rejection says nothing about the session.
    pub async fn end_if_rejected(&self, id: RowId, generation: i64) -> Result<bool, KeeperError> {
        let session = self.session(id).await?;
        let now = self.upstream.clock.now();
        if !is_clearly_fresh(&session, now) {
            return Ok(false);
        }
        let settled = self
            .upstream
            .storage
            .reject_tokens(id, generation, now)
            .await?;
        if settled != Settle::Stored {
            return Ok(false);
        }
        let reason = ReauthReason::Rejected;
        metrics::counter!("aip_upstream_refreshes_total", "outcome" => reason.as_str())
            .increment(1);
        self.record_end(&session, reason).await;
        self.publish_settled(id);
        self.notices.publish(&Notice::SessionSettled(id)).await;
        Ok(true)
    }

    pub(super) async fn session(&self, id: RowId) -> Result<UpstreamSession, KeeperError> {
        let session = self.upstream.storage.upstream_session(id).await?;
        session.ok_or(KeeperError::Unknown)
    }

    /// Tells all replicas that what they remember of an account is no longer so.
    pub async fn identity_changed(&self, account: &Did) {
        let changed = Notice::IdentityChanged(account.clone());
        self.notices.publish(&changed).await;
    }
}

/// Whether the access token is in the first half of a life that is not too short to tell.
fn is_clearly_fresh(session: &UpstreamSession, now: Timestamp) -> bool {
    let received = session.refreshed_at;
    let life = session.tokens.access_expires_at.since(received);
    life >= SHORT_LIFE && now.since(received) < life / 2
}
