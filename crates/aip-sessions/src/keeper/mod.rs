//! The keeper: refreshes upstream sessions once, at the right time, and never gives one up for a
//! failure that may pass. [`step`] decides, this drives.

pub mod step;

mod attempt;
mod in_flight;
mod operate;
mod recent;
mod revoker;
mod scheduler;
mod store_tokens;

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::{Blame, RequestNotes, RowId, Timestamp};
use aip_pds::{CallAuth, SessionKeys, usable_until};
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::notices::{Notice, Notices};
use aip_storage::refresh::TakeLease;
use aip_storage::session_read::SessionRead;
use aip_storage::session_status::SessionStatus;
use aip_storage::upstream::{
    Credential, EndReason, OAuthCredential, ReauthReason, SessionKind, UpstreamSession,
};
use secrecy::SecretString;
use tokio::time::Instant;
use tracing::Instrument as _;

use self::in_flight::{InFlight, InFlightGuard, Waiter};
use self::recent::{OpenedSession, RecentSessions};
use self::step::{Plan, Trigger, is_token_usable, plan};
use crate::identity::MissingKey;
use crate::session_sealer::{Column, SealerError};
use crate::spill::Spill;
use crate::upstream::Upstream;

/// How long a lease runs: 20 s for the identity proof, the rest for the exchange and the write. While
/// an answer is awaited, the lease is extended.
const LEASE_DURATION: Duration = Duration::from_mins(1);
/// How often it is extended. A database may be away for as long as is left.
const LEASE_EXTEND_INTERVAL: Duration = Duration::from_secs(10);
/// How long a caller waits for another refresh before it reads the session again.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long a caller waits in all, so that it is told to come back before its HTTP client gives up:
/// many do after 30 s. The refresh goes on without it.
const REFRESH_WAIT_TIMEOUT: Duration = Duration::from_secs(25);

/// Keeps upstream sessions alive and hands out their tokens.
pub struct Keeper {
    /// What its sessions are reached and stored with.
    pub upstream: Upstream,
    spill: Spill,
    pub(crate) notices: Arc<dyn Notices>,
    owner: String,
    respects_pauses: bool,
    in_flight: Arc<InFlight>,
    recent: RecentSessions,
}

/// A session ready for one call.
#[derive(Debug, Clone)]
pub struct ActiveSession {
    /// The id of its row in `upstream_sessions`.
    pub id: RowId,
    /// The account.
    pub did: Did,
    /// Its PDS, from the verified DID document.
    pub pds: Origin,
    /// What the PDS allows.
    pub scope: ScopeSet,
    /// What calls are made with.
    pub auth: CallAuth,
    /// The access token.
    pub access: SecretString,
    /// From when on the access token must not be used: some time before it expires.
    pub usable_until: Timestamp,
    /// Which token pair this is, to be named when the PDS rejects it.
    pub generation: i64,
}

/// Why a session cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// There is no such session.
    #[error("there is no such upstream session")]
    Unknown,
    /// The person must sign in again.
    #[error("the person must sign in again: {}", .0.as_str())]
    NeedsReauth(ReauthReason),
    /// Over, on purpose.
    #[error("the upstream session has ended: {}", .0.as_str())]
    Ended(EndReason),
    /// Not now; the session is kept.
    #[error("the session cannot be refreshed at present; it is kept")]
    Later(Duration),
    /// Our fault.
    #[error(transparent)]
    MissingKey(#[from] MissingKey),
    /// Our fault.
    #[error(transparent)]
    Sealer(#[from] SealerError),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl KeeperError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Unknown | Self::NeedsReauth(_) | Self::Ended(_) => Blame::Caller,
            Self::Later(_) => Blame::Upstream,
            Self::MissingKey(_) | Self::Sealer(_) | Self::Storage(_) => Blame::Ours,
        }
    }
}

impl Keeper {
    /// A keeper that holds refreshed tokens in `spill` while the database cannot store them, tells
    /// other replicas by `notices` which sessions are settled, and takes leases as `owner`, the
    /// name of this process.
    pub fn new(upstream: Upstream, spill: Spill, notices: Arc<dyn Notices>, owner: String) -> Self {
        Self {
            upstream,
            spill,
            notices,
            owner,
            respects_pauses: false,
            in_flight: Arc::default(),
            recent: RecentSessions::default(),
        }
    }

    /// Defers the sessions of paused accounts, or does not, as a keeper does that nobody tells when
    /// an account is in use again.
    #[must_use]
    pub fn respecting_pauses(mut self, respects: bool) -> Self {
        self.respects_pauses = respects;
        self
    }

    /// The name of this process in leases.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The session `id` as it is stored, refreshed if it is stale.
    pub async fn active_session(
        self: &Arc<Self>,
        id: RowId,
    ) -> Result<Arc<ActiveSession>, KeeperError> {
        let read = self.get_active(id, Trigger::Use).await?;
        self.open(read)
    }

    /// A session that was `read` a moment ago. It is read again, and refreshed if it is stale, unless
    /// it can be used as it was read then, or by somebody else since.
    pub async fn recent_session(
        self: &Arc<Self>,
        read: &SessionRead,
    ) -> Result<Arc<ActiveSession>, KeeperError> {
        let id = read.session.id;
        let now = self.upstream.clock.now();
        let opened = self.recent.opened(id);
        if let Some(opened) = opened.filter(|it| it.read.read_at >= read.read_at) {
            if self.recent.is_current(&opened.read, now) && is_usable(&opened.status, now) {
                return Ok(Arc::clone(&opened.active));
            }
        } else if self.recent.is_current(read, now) && is_usable(&read.session.status(), now) {
            return self.open(read.clone());
        }
        self.active_session(id).await
    }

    /// The status of a session that can be used, after a refresh if the one just read says that it
    /// is stale. Opens no secret unless it refreshes.
    pub async fn active_status(
        self: &Arc<Self>,
        read: SessionStatus,
    ) -> Result<SessionStatus, KeeperError> {
        if is_usable(&read, self.upstream.clock.now()) {
            return Ok(read);
        }
        let read = self.get_active(read.id, Trigger::Use).await?;
        Ok(read.session.status())
    }

    /// The session again after its PDS rejected the access token of `generation` (401
    /// `invalid_token`): refreshed unless somebody did so meanwhile.
    pub async fn refresh_after_rejection(
        self: &Arc<Self>,
        id: RowId,
        generation: i64,
    ) -> Result<Arc<ActiveSession>, KeeperError> {
        let read = self.get_active(id, Trigger::Rejected(generation)).await?;
        self.open(read)
    }

    /// The newest usable session of that kind, if there is one.
    pub async fn session_for(
        &self,
        client: &ClientId,
        did: &Did,
        kind: SessionKind,
    ) -> Result<Option<UpstreamSession>, KeeperError> {
        Ok(self
            .upstream
            .storage
            .usable_upstream_session(kind, client, did)
            .await?)
    }

    /// The session `id` as it is stored, once its access token can be used.
    async fn get_active(
        self: &Arc<Self>,
        id: RowId,
        trigger: Trigger,
    ) -> Result<SessionRead, KeeperError> {
        let deadline = Instant::now() + REFRESH_WAIT_TIMEOUT;
        let mut waiter: Option<Waiter<'_>> = None;
        let mut began_with = None;
        loop {
            // Registered before the session is read, so that no wake-up is missed in between.
            let notified = waiter.as_ref().map(Waiter::notified);
            let read_at = self.upstream.clock.now();
            let session = self
                .upstream
                .storage
                .upstream_session(id)
                .await?
                .ok_or(KeeperError::Unknown)?;
            let now = self.upstream.clock.now();
            let trigger = if session.generation > *began_with.get_or_insert(session.generation) {
                Trigger::Renewed
            } else {
                trigger
            };
            let status = session.status();
            let until = match plan(&status, trigger, now) {
                Plan::Use => return Ok(read(session, read_at)),
                Plan::Reauthenticate(reason) => return Err(KeeperError::NeedsReauth(reason)),
                Plan::Ended(reason) => return Err(KeeperError::Ended(reason)),
                Plan::BackOff(at) => return Err(KeeperError::Later(at.since(now))),
                Plan::Wait(until) => Some(until),
                Plan::Refresh => match self.pause_of(&session) {
                    Some(_) if is_token_usable(&status, trigger, now) => {
                        return Ok(read(session, read_at));
                    }
                    Some(pause) => return Err(KeeperError::Later(pause)),
                    None => self.refresh(&session, now, deadline).await?,
                },
            };
            match (until, notified) {
                (None, _) => {}
                (Some(_), None) => {
                    metrics::counter!("aip_upstream_collisions_prevented_total").increment(1);
                    waiter = Some(self.in_flight.wait_for(id));
                }
                // The session is read again without a wake-up, too: notices may be lost.
                (Some(until), Some(notified)) => {
                    drop(tokio::time::timeout(until.since(now).min(POLL_INTERVAL), notified).await);
                }
            }
            if Instant::now() >= deadline {
                return Err(KeeperError::Later(POLL_INTERVAL));
            }
        }
    }

    /// How long the servers of a session are to be left alone, if they are.
    fn pause_of(&self, session: &UpstreamSession) -> Option<Duration> {
        let origins = self.upstream.pds.origins();
        let issuer = session.issuer().map(Issuer::origin);
        let issuer = issuer.and_then(|origin| origins.refresh_wait(origin));
        origins.refresh_wait(&session.pds).max(issuer)
    }

    /// Refreshes in a task of its own, which neither a caller that leaves nor a shutdown aborts: a
    /// lease that was taken for a caller who left would hold up everybody until it lapses. Returns
    /// when that is done, or at `deadline`; until when somebody else has the lease, if so.
    async fn refresh(
        self: &Arc<Self>,
        session: &UpstreamSession,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Option<Timestamp>, KeeperError> {
        // An attempt outlives its lease when the database is away: what it received has to be
        // stored before this process sends anything again.
        let Some(guard) = InFlightGuard::take(&self.in_flight, session.id) else {
            return Ok(Some(now + POLL_INTERVAL));
        };
        let (keeper, session) = (Arc::clone(self), session.clone());
        let attempt = async move {
            let _guard = guard;
            keeper.lease_and_attempt(&session, now).await
        };
        let attempt = tokio::spawn(RequestNotes::carried_into(attempt.in_current_span()));
        match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok(outcome)) => outcome,
            // A panic in the task is a defect that was logged; the lease lapses by itself.
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    async fn lease_and_attempt(
        &self,
        session: &UpstreamSession,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, KeeperError> {
        let taken = self
            .upstream
            .storage
            .lease(
                session.id,
                session.generation,
                &self.owner,
                LEASE_DURATION,
                now,
            )
            .await?;
        let claim = match taken {
            TakeLease::Leased(claim) => claim,
            TakeLease::Held(until) => return Ok(Some(until)),
            TakeLease::Changed => return Ok(None),
        };
        let outcome = self.attempt(session, &claim).await;
        self.publish_settled(session.id);
        let settled = Notice::SessionSettled(session.id);
        self.notices.publish(&settled).await;
        outcome.map(|()| None)
    }

    /// A session is not any more as it was read before.
    fn publish_settled(&self, id: RowId) {
        self.recent.invalidate(id, self.upstream.clock.now());
    }

    /// Opens a session, but for what was opened before and is the same.
    fn open(&self, read: SessionRead) -> Result<Arc<ActiveSession>, KeeperError> {
        let session = &*read.session;
        let before = self.recent.opened(session.id);
        let auth = match &session.credential {
            Credential::OAuth(oauth) => CallAuth::Dpop(self.keys(session.id, oauth)?),
            Credential::AppPassword(_) => CallAuth::Bearer,
        };
        let sealed = &session.tokens.access;
        let access = match before.as_ref().and_then(|it| it.access(sealed)) {
            Some(access) => access,
            None => self
                .upstream
                .sealer
                .open(sealed, Column::AccessToken, session.id)?,
        };
        let active = Arc::new(ActiveSession {
            id: session.id,
            did: session.did.clone(),
            pds: session.pds.clone(),
            scope: session.scope.clone(),
            auth,
            access,
            usable_until: usable_until(session.refreshed_at, session.tokens.access_expires_at),
            generation: session.generation,
        });
        self.recent.keep(OpenedSession {
            status: session.status(),
            active: Arc::clone(&active),
            read,
        });
        Ok(active)
    }

    fn keys(&self, id: RowId, oauth: &OAuthCredential) -> Result<SessionKeys, KeeperError> {
        let before = self.recent.opened(id);
        let kid = oauth.client_key_id.as_deref();
        Ok(SessionKeys {
            session: id,
            client: self
                .upstream
                .identity
                .for_session(&oauth.upstream_client_id, kid)?,
            dpop: match before.as_ref().and_then(|it| it.key(&oauth.dpop_key)) {
                Some(key) => key,
                None => self.upstream.sealer.open_key(&oauth.dpop_key, id)?,
            },
        })
    }

    /// Waits until no refresh is under way in this process, or until `patience` has passed.
    /// Returns how many were still under way.
    pub async fn drain(&self, patience: Duration) -> usize {
        let drained = async {
            loop {
                let idle = self.in_flight.idle.notified();
                if self.in_flight.running() == 0 {
                    return;
                }
                idle.await;
            }
        };
        drop(tokio::time::timeout(patience, drained).await);
        self.in_flight.running()
    }
}

/// Whether an app's call may use the session as it is.
fn is_usable(session: &SessionStatus, now: Timestamp) -> bool {
    plan(session, Trigger::Use, now) == Plan::Use
}

fn read(session: UpstreamSession, read_at: Timestamp) -> SessionRead {
    SessionRead {
        session: Arc::new(session),
        read_at,
    }
}
