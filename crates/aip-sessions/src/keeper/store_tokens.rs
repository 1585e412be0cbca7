//! Keeping what a refresh brought: tokens that were received are stored, however long the database
//! takes. They wait in memory and, from the first trouble on, on the local disk.

use std::time::Duration;

use aip_atproto::Origin;
use aip_base::Backoff;
use aip_pds::{ProvenIdentity, TokenSet};
use aip_storage::StorageError;
use aip_storage::notices::Notice;
use aip_storage::refresh::{PartialRefresh, Refreshed, Settle};
use aip_storage::upstream::{Credential, SealedTokens, UpstreamSession, UpstreamState};
use secrecy::SecretString;

use super::step::{keep_alive_at, next_try};
use super::{Keeper, KeeperError};
use crate::session_sealer::Column;

/// Between two tries to write something down that must not be lost.
pub(super) const WRITE_RETRY: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};
/// A database that has not stored tokens by then is taken to be away.
const SPILL_AFTER: Duration = Duration::from_millis(500);

/// The result of a successful attempt.
pub(super) struct Received {
    pub(super) tokens: ReceivedTokens,
    pub(super) pds: Origin,
    /// For revoking the tokens, if it is an OAuth session.
    pub(super) proven: Option<ProvenIdentity>,
}

/// The tokens that came. The one that was sent is spent, so every one of them is kept.
pub(super) enum ReceivedTokens {
    Tokens(TokenSet),
    /// An answer without an access token that can be used.
    RefreshOnly {
        refresh: SecretString,
        /// What it lacks, in words without a secret.
        error: String,
    },
}

impl Keeper {
    /// Stores new tokens.
    pub(super) async fn store_tokens(
        &self,
        session: &UpstreamSession,
        fence: i64,
        received: Received,
    ) -> Result<(), KeeperError> {
        let Received {
            tokens,
            pds,
            proven,
        } = received;
        let now = self.upstream.clock.now();
        let refreshed = Refreshed {
            id: session.id,
            generation: session.generation,
            fence,
            tokens: session.tokens.clone(),
            pds,
            scope: session.scope.clone(),
            next_refresh_at: keep_alive_at(now),
            partial: None,
            asked_at: now,
        };
        let (refreshed, last) = match tokens {
            ReceivedTokens::Tokens(tokens) => {
                let new = Refreshed {
                    tokens: self.upstream.sealer.seal_tokens(&tokens, session.id)?,
                    scope: tokens.scope,
                    asked_at: tokens.asked_at,
                    ..refreshed
                };
                (new, tokens.refresh.unwrap_or(tokens.access))
            }
            // The old access token is used as long as it lives, at the PDS that gave it.
            ReceivedTokens::RefreshOnly { refresh, error } => {
                let sealed =
                    self.upstream
                        .sealer
                        .seal(&refresh, Column::RefreshToken, session.id)?;
                let ends = session.tokens.access_expires_at;
                let stays = refreshed.pds == session.pds;
                let failures = session.failures.saturating_add(1);
                let new = Refreshed {
                    tokens: SealedTokens {
                        refresh: Some(sealed),
                        access_expires_at: if stays { ends } else { now },
                        ..refreshed.tokens
                    },
                    next_refresh_at: next_try(failures, now, &*self.upstream.rng),
                    partial: Some(PartialRefresh { failures, error }),
                    ..refreshed
                };
                (new, refresh)
            }
        };
        if self.store(&refreshed).await? {
            count(if refreshed.partial.is_none() {
                "refreshed"
            } else {
                "retry"
            });
            return Ok(());
        }
        count("superseded");
        tracing::warn!(session = %session.id, "refreshed tokens were superseded");
        if self.has_ended(&refreshed).await? {
            // The session is to be revoked with tokens that this refresh has replaced, and not
            // every PDS knows those any more. So it is revoked with the new ones, which nobody
            // will use. If somebody else refreshed it, nothing may be revoked: that would end
            // their session.
            if let Err(error) = self.revoke_unused(session, &refreshed, &last, proven).await {
                tracing::warn!(session = %session.id, error, "token revocation for an ended session failed");
            }
        }
        Ok(())
    }

    /// The error is words for the log.
    async fn revoke_unused(
        &self,
        session: &UpstreamSession,
        refreshed: &Refreshed,
        token: &SecretString,
        proven: Option<ProvenIdentity>,
    ) -> Result<(), String> {
        if let (Credential::OAuth(oauth), Some(proven)) = (&session.credential, proven) {
            let keys = self.keys(session.id, oauth).map_err(|e| e.to_string())?;
            let revoked = self
                .upstream
                .pds
                .revoke(&keys, proven.server(), token)
                .await;
            return revoked.map_err(|e| e.to_string());
        }
        let deleted = self
            .upstream
            .pds
            .delete_password_session(&refreshed.pds, token);
        deleted.await.map_err(|e| e.to_string())
    }

    /// Tries until the database has answered. Whether the tokens are the session's now.
    async fn store(&self, refreshed: &Refreshed) -> Result<bool, KeeperError> {
        let id = refreshed.id;
        let mut spilled = false;
        let mut attempt = 0;
        loop {
            let store = self.upstream.storage.store_refreshed(refreshed);
            tokio::pin!(store);
            let outcome = if spilled {
                store.await
            } else if let Ok(outcome) = tokio::time::timeout(SPILL_AFTER, &mut store).await {
                outcome
            } else {
                spilled = self.spill(refreshed).await;
                store.await
            };
            match outcome {
                Ok(settled) => {
                    if spilled {
                        self.forget_spilled(refreshed).await;
                    }
                    return match settled {
                        Settle::Stored => Ok(true),
                        Settle::Superseded => self.is_stored(refreshed).await,
                    };
                }
                Err(StorageError::Unavailable(error)) => {
                    tracing::error!(session = %id, %error, attempt, "storing refreshed tokens failed, retrying");
                    if !spilled {
                        spilled = self.spill(refreshed).await;
                    }
                    tokio::time::sleep(WRITE_RETRY.delay(attempt, &*self.upstream.rng)).await;
                    attempt = attempt.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether they are on the disk. If not, they wait in memory alone.
    async fn spill(&self, refreshed: &Refreshed) -> bool {
        match self.spill.put(refreshed).await {
            Ok(()) => {
                metrics::counter!("aip_keeper_spilled_total").increment(1);
                true
            }
            Err(error) => {
                tracing::error!(session = %refreshed.id, %error, "writing refreshed tokens to the spill directory failed");
                false
            }
        }
    }

    async fn forget_spilled(&self, refreshed: &Refreshed) {
        if let Err(error) = self.spill.remove(refreshed.id).await {
            tracing::error!(session = %refreshed.id, %error, "deleting a spill file failed");
        }
    }

    /// A connection may break after the database has stored them and before it says so.
    async fn is_stored(&self, refreshed: &Refreshed) -> Result<bool, KeeperError> {
        let stored = self.upstream.storage.upstream_session(refreshed.id).await?;
        Ok(stored.is_some_and(|stored| {
            stored.generation == refreshed.generation + 1
                && stored.tokens.access.as_str() == refreshed.tokens.access.as_str()
        }))
    }

    async fn has_ended(&self, refreshed: &Refreshed) -> Result<bool, KeeperError> {
        let stored = self.upstream.storage.upstream_session(refreshed.id).await?;
        Ok(stored.is_some_and(|it| matches!(it.state, UpstreamState::Ended(_))))
    }

    /// Stores what waits on the disk since this process, or the one before it, could not. What an
    /// attempt of this process still holds is left to it.
    pub async fn replay_spill(&self) -> Result<(), KeeperError> {
        let waiting = match self.spill.waiting().await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "reading the spill directory failed");
                return Ok(());
            }
        };
        for refreshed in waiting {
            if self.in_flight.is_running(refreshed.id) {
                continue;
            }
            let stored = match self.upstream.storage.store_refreshed(&refreshed).await? {
                Settle::Stored => true,
                Settle::Superseded => self.is_stored(&refreshed).await?,
            };
            if stored {
                count("replayed");
                tracing::info!(session = %refreshed.id, "spilled tokens stored");
                self.publish_settled(refreshed.id);
                self.in_flight.wake(refreshed.id);
                let settled = Notice::SessionSettled(refreshed.id);
                self.notices.publish(&settled).await;
            } else {
                count("superseded");
                tracing::warn!(session = %refreshed.id, "spilled tokens superseded");
            }
            self.forget_spilled(&refreshed).await;
        }
        Ok(())
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("aip_upstream_refreshes_total", "outcome" => outcome).increment(1);
}
