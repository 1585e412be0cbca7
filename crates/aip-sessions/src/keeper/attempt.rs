//! One refresh under a lease: prove, write down, send, settle. Killed between any two of these,
//! the next holder knows what may have happened.

use std::time::Duration;

use aip_base::Backoff;
use aip_pds::{ProofError, ProvenIdentity, RefreshError, TokenSet, UpstreamCredentials};
use aip_storage::StorageError;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::upstream::{
    JournalEntry, Lease, RefreshFailure, Refreshed, Settle, UpstreamSession, UpstreamState,
};
use secrecy::ExposeSecret as _;

use super::step::{Outcome, keep_alive_at, settle};
use super::{Keeper, KeeperError};
use crate::vault::Column;

/// Tokens that were received are worth waiting for the database: this long between tries.
const WRITE_RETRY: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};
/// How long the identity proof may take in all: a directory may have mirrors, and a PDS may need
/// to be asked twice. What is left of the lease is for the exchange and the write.
const PROOF: Duration = Duration::from_secs(45);

impl Keeper {
    /// Refreshes `session` under `lease` and settles the outcome.
    pub(super) async fn attempt(
        &self,
        session: &UpstreamSession,
        lease: &Lease,
    ) -> Result<(), KeeperError> {
        // A journal entry at this point was left by a holder that died: what it sent may have
        // been processed, so this attempt repeats it.
        let journalled = self.storage.journalled(session.id).await?.is_some();
        let repeated = journalled || session.state == UpstreamState::Uncertain;
        match self.exchange(session, lease).await? {
            Ok((tokens, proven)) => self.keep(session, lease, &tokens, &proven).await,
            Err(outcome) => self.give_up(session, lease, outcome, repeated).await,
        }
    }

    /// The network half. The outer error is ours, the inner one is the attempt's.
    async fn exchange(
        &self,
        session: &UpstreamSession,
        lease: &Lease,
    ) -> Result<Result<(TokenSet, ProvenIdentity), Outcome>, KeeperError> {
        let Some(sealed) = &session.tokens.refresh else {
            return Ok(Err(Outcome::NoRefreshToken));
        };
        let credentials = UpstreamCredentials {
            keys: self.keys(session)?,
            refresh_token: self.vault.open(sealed, Column::RefreshToken, session.id)?,
        };
        let proof = self
            .pds
            .prove(&session.did, &session.issuer, Some(&session.did));
        let proven = match tokio::time::timeout(PROOF, proof).await {
            Ok(Ok(proven)) => proven,
            Ok(Err(error)) => return Ok(Err(judge_proof(session, &error))),
            Err(_) => {
                tracing::warn!(session = %session.id, "the identity proof before a refresh took too long");
                return Ok(Err(Outcome::NotSpent { retry_after: None }));
            }
        };
        let entry = JournalEntry {
            id: session.id,
            fence: lease.fence,
            refresh: self.hasher.hash(credentials.refresh_token.expose_secret()),
            sent_at: self.clock.now(),
        };
        if self.storage.journal_sent(&entry).await? == Settle::Superseded {
            // The lease lapsed during the proof and somebody else has it: nothing was sent.
            return Ok(Err(Outcome::NotSpent { retry_after: None }));
        }
        let sent = self.send(session, &credentials, &proven).await;
        Ok(sent.map(|tokens| (tokens, proven)))
    }

    async fn send(
        &self,
        session: &UpstreamSession,
        credentials: &UpstreamCredentials,
        proven: &ProvenIdentity,
    ) -> Result<TokenSet, Outcome> {
        self.pds.refresh(credentials, proven).await.map_err(|error| {
            let outcome = judge(&error);
            if outcome == Outcome::OurFault {
                tracing::error!(session = %session.id, issuer = %session.issuer, %error, "refresh refused: check keys and metadata");
            } else {
                tracing::warn!(session = %session.id, issuer = %session.issuer, %error, "refresh failed");
            }
            outcome
        })
    }

    /// Stores new tokens, however long the database takes: they cannot be had again.
    async fn keep(
        &self,
        session: &UpstreamSession,
        lease: &Lease,
        tokens: &TokenSet,
        proven: &ProvenIdentity,
    ) -> Result<(), KeeperError> {
        let now = self.clock.now();
        let refreshed = Refreshed {
            id: session.id,
            generation: session.generation,
            fence: lease.fence,
            tokens: self.vault.seal_tokens(tokens, session.id)?,
            pds: proven.pds().clone(),
            scope: tokens.scope.clone(),
            next_refresh_at: keep_alive_at(now),
            now,
        };
        let mut attempt = 0;
        loop {
            match self.storage.store_refreshed(&refreshed).await {
                Ok(Settle::Stored) => {
                    metrics::counter!("aip_upstream_refreshes_total", "outcome" => "refreshed")
                        .increment(1);
                    return Ok(());
                }
                Ok(Settle::Superseded) => {
                    metrics::counter!("aip_upstream_refreshes_total", "outcome" => "superseded")
                        .increment(1);
                    tracing::warn!(session = %session.id, "refreshed tokens were superseded");
                    return self.give_back_if_ended(session, tokens, proven).await;
                }
                Err(StorageError::Unavailable(error)) => {
                    tracing::error!(session = %session.id, %error, attempt, "refreshed tokens are not stored yet");
                    tokio::time::sleep(WRITE_RETRY.delay(attempt, &*self.rng)).await;
                    attempt = attempt.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A session that ended while it was refreshed is to be revoked with tokens that this refresh
    /// has replaced, and not every PDS knows those any more. So it is revoked with the new ones,
    /// which nobody will use. If somebody else refreshed it, nothing may be revoked: that would
    /// end their session.
    async fn give_back_if_ended(
        &self,
        session: &UpstreamSession,
        tokens: &TokenSet,
        proven: &ProvenIdentity,
    ) -> Result<(), KeeperError> {
        let stored = self.storage.upstream_session(session.id).await?;
        if !stored.is_some_and(|it| matches!(it.state, UpstreamState::Ended(_))) {
            return Ok(());
        }
        let token = tokens.refresh.as_ref().unwrap_or(&tokens.access);
        let keys = self.keys(session)?;
        if let Err(error) = self.pds.revoke(&keys, proven.server(), token).await {
            tracing::warn!(session = %session.id, %error, "tokens of an ended session could not be revoked");
        }
        Ok(())
    }

    async fn give_up(
        &self,
        session: &UpstreamSession,
        lease: &Lease,
        outcome: Outcome,
        repeated: bool,
    ) -> Result<(), KeeperError> {
        let failure = settle(
            outcome,
            repeated,
            session.failures,
            self.clock.now(),
            &*self.rng,
        );
        metrics::counter!("aip_upstream_refreshes_total", "outcome" => label(&failure))
            .increment(1);
        let settled = self
            .storage
            .settle_failure(
                session.id,
                session.generation,
                lease.fence,
                &failure,
                self.clock.now(),
            )
            .await?;
        if let (Settle::Stored, RefreshFailure::NeedsReauth(reason)) = (settled, &failure) {
            tracing::warn!(session = %session.id, reason = reason.as_str(), "the person must sign in again");
            let event = AuditEvent::new(
                &*self.clock,
                &*self.rng,
                AuditKind::UpstreamEnded,
                reason.as_str(),
            );
            self.storage
                .record(&event.of_account(&session.did).of_client(&session.client_id))
                .await?;
        }
        Ok(())
    }
}

fn judge_proof(session: &UpstreamSession, error: &ProofError) -> Outcome {
    tracing::warn!(session = %session.id, %error, "identity proof before a refresh failed");
    match error {
        ProofError::Moved { .. } => Outcome::Moved,
        // An account that does not exist, or servers that say what must not be accepted, may be
        // an outage in disguise: the session is kept and its PDS asked nothing.
        ProofError::CannotTell(_) | ProofError::Refused(_) | ProofError::OtherAccount { .. } => {
            Outcome::NotSpent { retry_after: None }
        }
    }
}

fn judge(error: &RefreshError) -> Outcome {
    match error {
        RefreshError::InvalidGrant { .. } => Outcome::Refused,
        RefreshError::InvalidClient { .. }
        | RefreshError::Rejected { .. }
        | RefreshError::Sign(_) => Outcome::OurFault,
        RefreshError::NotSent(_) => Outcome::NotSpent { retry_after: None },
        // A gateway may answer 5xx after the server behind it has processed the request, so a
        // repeat that is refused counts as a lost answer; 429 comes from before that.
        RefreshError::Transient {
            status: Some(429),
            retry_after,
        } => Outcome::NotSpent {
            retry_after: *retry_after,
        },
        RefreshError::Transient { .. }
        | RefreshError::MayHaveArrived(_)
        | RefreshError::Malformed(_) => Outcome::Unknown,
    }
}

fn label(failure: &RefreshFailure) -> &'static str {
    match failure {
        RefreshFailure::Retry(_) => "retry",
        RefreshFailure::Uncertain(_) => "uncertain",
        RefreshFailure::NeedsReauth(reason) => reason.as_str(),
    }
}
