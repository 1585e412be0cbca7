//! One refresh under a lease: prove the identity, write the journal, send, settle. After a kill
//! between any two of these, the next holder of the lease knows what may have happened.

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use aip_pds::{
    AppPassword, PasswordSessionError, ProofError, ProvenPds, RefreshError, TokenSet,
    UpstreamCredentials,
};
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::refresh::{Claim, FailedRefresh, JournalEntry, RefreshFailure, Settle};
use aip_storage::upstream::{Credential, OAuthCredential, ReauthReason, UpstreamSession};
use secrecy::{ExposeSecret as _, SecretString};

use super::step::{OWNER_GRACE, Outcome, PriorSend, prior_send, settle};
use super::store_tokens::{Received, ReceivedTokens, WRITE_RETRY};
use super::{Keeper, KeeperError, LEASE_DURATION, LEASE_EXTEND_INTERVAL};
use crate::session_sealer::Column;

/// How long the identity proof may take in all: a PLC directory may be slow, and a PDS may need
/// to be asked twice. What is left of the lease is for the exchange and the write.
const PROOF_TIMEOUT: Duration = Duration::from_secs(20);

/// Before a refused token is believed to be dead, it is sent once more after this time. The reference
/// PDS answers `invalid_grant` to every error that it meets while it looks the token up in its store
/// (`consumeRefreshToken` in its `token-manager`): a token that is good is good a moment later, and one
/// that is dead cannot get worse.
const INVALID_GRANT_RETRY_DELAY: Duration = Duration::from_secs(2);
/// How long a failure is tried to be settled: a database that restarts is back by then.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// An attempt without new tokens.
struct FailedAttempt {
    outcome: Outcome,
    /// In words, for operators; no secret.
    error: String,
}

/// What ends an attempt early: our own trouble, or the attempt's.
enum AttemptError {
    Ours(KeeperError),
    FailedAttempt(FailedAttempt),
}

impl<E: Into<KeeperError>> From<E> for AttemptError {
    fn from(error: E) -> Self {
        Self::Ours(error.into())
    }
}

impl From<FailedAttempt> for AttemptError {
    fn from(failed: FailedAttempt) -> Self {
        Self::FailedAttempt(failed)
    }
}

impl FailedAttempt {
    fn new(outcome: Outcome, error: &impl Display) -> Self {
        let error = error.to_string();
        Self { outcome, error }
    }

    fn not_spent(error: &impl Display) -> Self {
        Self::new(Outcome::NotSpent { retry_after: None }, error)
    }
}

impl Keeper {
    /// Refreshes `session` under the lease of `claim` and settles the outcome.
    #[tracing::instrument(name = "refresh", skip_all, fields(session = %session.id))]
    pub(super) async fn attempt(
        &self,
        session: &UpstreamSession,
        claim: &Claim,
    ) -> Result<(), KeeperError> {
        let prior_send = prior_send(claim);
        if prior_send == PriorSend::Unsettled {
            return self.extend_lease_for_sender(session, claim).await;
        }
        let repeated = prior_send == PriorSend::Unknown;
        let outcome = match &session.credential {
            Credential::OAuth(oauth) => self.exchange(session, oauth, claim).await,
            Credential::AppPassword(_) => self.renew(session, claim).await,
        };
        match outcome {
            Ok(received) => {
                self.store_tokens(session, claim.lease.fence, received)
                    .await
            }
            Err(AttemptError::FailedAttempt(failed)) => {
                self.settle_failed_attempt(session, claim, failed, repeated)
                    .await
            }
            // A key that is missing, or a value that does not open, may be mended by an operator:
            // the session is kept and tried again later.
            Err(AttemptError::Ours(
                error @ (KeeperError::MissingKey(_) | KeeperError::Sealer(_)),
            )) => {
                tracing::error!(session = %session.id, %error, "session refresh failed: key missing or unusable");
                let failed = FailedAttempt::new(Outcome::OurFault, &error);
                self.settle_failed_attempt(session, claim, failed, repeated)
                    .await
            }
            // Errors of AIP itself come before anything was sent. The lease is released, or all
            // callers would wait until it lapses.
            Err(AttemptError::Ours(error)) => {
                let failed = FailedAttempt::not_spent(&error);
                self.settle_failed_attempt(session, claim, failed, repeated)
                    .await?;
                Err(error)
            }
        }
    }

    /// Holds the lease without sending anything, see [`PriorSend::Unsettled`].
    pub(super) async fn extend_lease_for_sender(
        &self,
        session: &UpstreamSession,
        claim: &Claim,
    ) -> Result<(), KeeperError> {
        tracing::warn!(session = %session.id, fence = claim.lease.fence, "unsettled refresh found, extending the lease for its sender");
        let (fence, now) = (claim.lease.fence, self.upstream.clock.now());
        self.upstream
            .storage
            .hold_lease(session.id, fence, OWNER_GRACE, now)
            .await?;
        Ok(())
    }

    /// The network half for a session of OAuth.
    async fn exchange(
        &self,
        session: &UpstreamSession,
        oauth: &OAuthCredential,
        claim: &Claim,
    ) -> Result<Received, AttemptError> {
        let Some(sealed) = &session.tokens.refresh else {
            let error = "the PDS gave no refresh token";
            return Err(FailedAttempt::new(Outcome::NoRefreshToken, &error).into());
        };
        let credentials = UpstreamCredentials {
            keys: self.keys(session.id, oauth)?,
            refresh_token: self
                .upstream
                .sealer
                .open(sealed, Column::RefreshToken, session.id)?,
            scope: session.scope.clone(),
        };
        let proof = self
            .upstream
            .pds
            .prove(&session.did, &oauth.issuer, Some(&session.did));
        let proven = self.prove_in_time(session, proof).await?;
        if *proven.pds() != session.pds {
            self.identity_changed(&session.did).await;
        }
        self.journal_send(session, claim, &credentials.refresh_token)
            .await?;
        let refresh = async {
            let first = self.upstream.pds.refresh(&credentials, &proven).await;
            let refused = matches!(first, Err(RefreshError::InvalidGrant { .. }));
            if refused && prior_send(claim) == PriorSend::Unsent {
                tokio::time::sleep(INVALID_GRANT_RETRY_DELAY).await;
                return self.upstream.pds.refresh(&credentials, &proven).await;
            }
            first
        };
        let tokens = match self.with_lease_extension(session, claim, refresh).await {
            Ok(tokens) => ReceivedTokens::Tokens(tokens),
            Err(error) => {
                let failed = FailedAttempt::new(judge(&error), &error);
                if failed.outcome == Outcome::OurFault {
                    tracing::error!(session = %session.id, issuer = %oauth.issuer, %error, "refresh rejected: check client keys and client metadata");
                } else {
                    tracing::warn!(session = %session.id, issuer = %oauth.issuer, %error, "refresh failed");
                }
                let RefreshError::Unusable {
                    refresh: Some(refresh),
                    ..
                } = error
                else {
                    return Err(failed.into());
                };
                let error = failed.error;
                ReceivedTokens::RefreshOnly { refresh, error }
            }
        };
        Ok(Received {
            tokens,
            pds: proven.pds().clone(),
            proven: Some(proven),
        })
    }

    /// The network half for a session of an app password: its refresh token if it is still good
    /// at the account's PDS, else the password.
    async fn renew(
        &self,
        session: &UpstreamSession,
        claim: &Claim,
    ) -> Result<Received, AttemptError> {
        let Credential::AppPassword(sealed) = &session.credential else {
            return Err(FailedAttempt::not_spent(&"not a session of an app password").into());
        };
        let password = self
            .upstream
            .sealer
            .open(sealed, Column::AppPassword, session.id)?;
        let refresh = session.tokens.refresh.as_ref();
        let refresh = refresh
            .map(|sealed| {
                self.upstream
                    .sealer
                    .open(sealed, Column::RefreshToken, session.id)
            })
            .transpose()?;
        let proven = self
            .prove_in_time(session, self.upstream.pds.prove_pds(&session.did))
            .await?;
        // The tokens of the PDS that the account has left are worth nothing at its new one.
        let stays = *proven.pds() == session.pds;
        if !stays {
            self.identity_changed(&session.did).await;
        }
        self.journal_send(session, claim, refresh.as_ref().unwrap_or(&password))
            .await?;
        let renewed = self.renew_at(&proven, refresh.filter(|_| stays), &password);
        let tokens = match self.with_lease_extension(session, claim, renewed).await {
            Ok(tokens) => ReceivedTokens::Tokens(tokens),
            Err(error) => {
                tracing::warn!(session = %session.id, pds = %proven.pds(), %error, "refresh failed");
                let failed = FailedAttempt::new(judge_password(&error), &error);
                let PasswordSessionError::RefreshOnly(refresh) = error else {
                    return Err(failed.into());
                };
                let error = failed.error;
                ReceivedTokens::RefreshOnly { refresh, error }
            }
        };
        Ok(Received {
            tokens,
            pds: proven.pds().clone(),
            proven: None,
        })
    }

    async fn renew_at(
        &self,
        proven: &ProvenPds,
        refresh: Option<SecretString>,
        password: &SecretString,
    ) -> Result<TokenSet, PasswordSessionError> {
        if let Some(refresh) = refresh {
            match self
                .upstream
                .pds
                .refresh_password_session(proven, &refresh)
                .await
            {
                Err(error) if error.is_final() => {
                    tracing::info!(pds = %proven.pds(), %error, "creating a new session with the app password");
                }
                outcome => return outcome,
            }
        }
        let password = AppPassword::parse(password.expose_secret())
            .map_err(|_| PasswordSessionError::MainPassword)?;
        self.upstream
            .pds
            .create_password_session(proven, &password)
            .await
    }

    /// Runs `work` and extends the lease meanwhile: a refresh that was sent is not abandoned, and
    /// nobody else may send while its answer can still come.
    async fn with_lease_extension<T>(
        &self,
        session: &UpstreamSession,
        claim: &Claim,
        work: impl Future<Output = T>,
    ) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.extend_lease(session, claim) => match never {},
        }
    }

    async fn extend_lease(&self, session: &UpstreamSession, claim: &Claim) -> Infallible {
        let (id, fence) = (session.id, claim.lease.fence);
        loop {
            tokio::time::sleep(LEASE_EXTEND_INTERVAL).await;
            let now = self.upstream.clock.now();
            match self
                .upstream
                .storage
                .hold_lease(id, fence, LEASE_DURATION, now)
                .await
            {
                Ok(Settle::Stored) => {}
                // What is received is stored all the same, unless the other one sends, too.
                Ok(Settle::Superseded) => {
                    tracing::warn!(session = %id, fence, "lease lost while waiting for the refresh response");
                }
                Err(error) => {
                    tracing::error!(session = %id, fence, %error, "lease extension failed while waiting for the refresh response");
                }
            }
        }
    }

    async fn prove_in_time<T>(
        &self,
        session: &UpstreamSession,
        proof: impl Future<Output = Result<T, ProofError>>,
    ) -> Result<T, AttemptError> {
        let failed = match tokio::time::timeout(PROOF_TIMEOUT, proof).await {
            Ok(Ok(proven)) => return Ok(proven),
            Ok(Err(error @ ProofError::Moved { .. })) => {
                self.identity_changed(&session.did).await;
                FailedAttempt::new(Outcome::Moved, &error)
            }
            // An account that does not exist, or servers that say what must not be accepted, may
            // be an outage in disguise: the session is kept and its PDS asked nothing.
            Ok(Err(error)) => FailedAttempt::not_spent(&error),
            Err(_) => FailedAttempt::not_spent(&"it took too long"),
        };
        tracing::warn!(session = %session.id, error = failed.error, "identity check before refresh failed");
        Err(failed.into())
    }

    /// Writes to the journal, before the request is sent, that it is.
    async fn journal_send(
        &self,
        session: &UpstreamSession,
        claim: &Claim,
        token: &SecretString,
    ) -> Result<(), AttemptError> {
        let entry = JournalEntry {
            id: session.id,
            fence: claim.lease.fence,
            refresh: self.upstream.hasher.hash(token.expose_secret()),
            sent_at: self.upstream.clock.now(),
        };
        match self.upstream.storage.journal_sent(&entry).await? {
            Settle::Stored => Ok(()),
            Settle::Superseded => {
                Err(FailedAttempt::not_spent(&"the lease lapsed before anything was sent").into())
            }
        }
    }

    async fn settle_failed_attempt(
        &self,
        session: &UpstreamSession,
        claim: &Claim,
        failed: FailedAttempt,
        repeated: bool,
    ) -> Result<(), KeeperError> {
        let now = self.upstream.clock.now();
        let failure = settle(failed.outcome, repeated, session, now, &*self.upstream.rng);
        metrics::counter!("aip_upstream_refreshes_total", "outcome" => label(&failure))
            .increment(1);
        let settled = self
            .settle_in_time(FailedRefresh {
                id: session.id,
                generation: session.generation,
                fence: claim.lease.fence,
                failure: &failure,
                error: &failed.error,
                now,
            })
            .await?;
        if let (Settle::Stored, RefreshFailure::NeedsReauth(reason)) = (settled, &failure) {
            tracing::warn!(session = %session.id, error = failed.error, "session can no longer be refreshed");
            self.record_end(session, *reason).await;
        }
        Ok(())
    }

    /// Settles a failure as soon as the database is there, unless that takes too long: then the
    /// lease lapses by itself.
    async fn settle_in_time(&self, failed: FailedRefresh<'_>) -> Result<Settle, KeeperError> {
        let late = tokio::time::Instant::now() + SETTLE_TIMEOUT;
        let mut attempt = 0;
        loop {
            match self.upstream.storage.settle_failure(failed).await {
                Err(StorageError::Unavailable(_)) if tokio::time::Instant::now() < late => {
                    tokio::time::sleep(WRITE_RETRY.delay(attempt, &*self.upstream.rng)).await;
                    attempt = attempt.saturating_add(1);
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Tells operators that a session needs its person.
    pub(super) async fn record_end(&self, session: &UpstreamSession, reason: ReauthReason) {
        tracing::warn!(session = %session.id, reason = reason.as_str(), "session needs reauthentication");
        self.audit(session, AuditKind::UpstreamEnded, reason.as_str())
            .await;
    }

    /// Notes what is done already.
    pub(super) async fn audit(&self, session: &UpstreamSession, kind: AuditKind, detail: &str) {
        let event = self.upstream.audit_event(kind, detail);
        let event = event.of_account(&session.did).of_client(&session.client_id);
        self.upstream.storage.note(&event).await;
    }
}

/// Refusals that are about this client's metadata, its proof or its request, and not about the token.
const OUR_FAULTS: [&str; 5] = [
    "invalid_client_metadata",
    "invalid_dpop_proof",
    "use_dpop_nonce",
    "unsupported_grant_type",
    "invalid_scope",
];

fn judge(error: &RefreshError) -> Outcome {
    match error {
        RefreshError::InvalidGrant { .. } => Outcome::Refused,
        RefreshError::Rejected { error, .. } if OUR_FAULTS.contains(&error.as_str()) => {
            Outcome::OurFault
        }
        RefreshError::Rejected { .. } => Outcome::Rejected,
        RefreshError::InvalidClient { .. } | RefreshError::Sign(_) => Outcome::OurFault,
        RefreshError::OtherAccount(_) => Outcome::OtherAccount,
        RefreshError::NotSent(_) => Outcome::NotSpent { retry_after: None },
        RefreshError::Paused(paused) => Outcome::NotSpent {
            retry_after: Some(paused.0),
        },
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
        | RefreshError::Unusable { .. } => Outcome::Unknown,
    }
}

/// The password can always be sent again, so there is nothing that an answer lost could cost.
fn judge_password(error: &PasswordSessionError) -> Outcome {
    let retry_after = match error {
        error if error.is_final() => return Outcome::Refused,
        PasswordSessionError::Status { retry_after, .. } => *retry_after,
        PasswordSessionError::Paused(paused) => Some(paused.0),
        _ => None,
    };
    Outcome::NotSpent { retry_after }
}

fn label(failure: &RefreshFailure) -> &'static str {
    match failure {
        RefreshFailure::Deferred(_) => "deferred",
        RefreshFailure::Retry(_) => "retry",
        RefreshFailure::Rejected(_) => "rejected_for_now",
        RefreshFailure::Uncertain(_) => "uncertain",
        RefreshFailure::NeedsReauth(reason) => reason.as_str(),
    }
}
