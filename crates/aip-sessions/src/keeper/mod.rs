//! The keeper: refreshes upstream sessions once, at the right time, and never gives one up for a
//! failure that may pass. [`step`] decides, this drives.

pub mod step;

mod attempt;
mod desk;
mod keep;
mod operate;
mod revoker;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::{Blame, Clock, RequestNotes, Rng, RowId, Timestamp};
use aip_keys::TokenHasher;
use aip_pds::{CallAuth, PdsClient, SessionKeys, usable_until};
use aip_storage::client::ClientId;
use aip_storage::notices::{Notice, Notices};
use aip_storage::upstream::{
    Credential, EndReason, OAuthCredential, ReauthReason, SessionKind, TakeLease, UpstreamSession,
};
use aip_storage::{Storage, StorageError};
use secrecy::SecretString;
use tracing::Instrument as _;

pub use self::desk::Desk;
use self::desk::{Place, Seat};
use self::step::{Occasion, Plan, is_usable, plan};
use crate::identity::{MissingKey, UpstreamIdentity};
use crate::spill::Spill;
use crate::vault::{Column, Vault, VaultError};

/// How long a lease runs: 20 s for the identity proof, the rest for the exchange and the write. While
/// an answer is awaited, the lease is extended.
const LEASE: Duration = Duration::from_mins(1);
/// How often it is extended. A database may be away for as long as is left.
const EXTEND: Duration = Duration::from_secs(10);
/// How long a caller waits for somebody else's refresh before it looks again by itself.
const POLL: Duration = Duration::from_millis(500);
/// How long a caller waits in all. The refresh goes on without it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps upstream sessions alive and hands out their tokens.
pub struct Keeper {
    /// Towards PDSs.
    pub pds: Arc<PdsClient>,
    /// Who AIP is there.
    pub identity: UpstreamIdentity,
    /// Where sessions are kept.
    pub storage: Arc<dyn Storage>,
    /// Opens and seals them.
    pub vault: Vault,
    /// Where tokens wait that cannot be stored.
    pub spill: Spill,
    /// Tells other replicas what settled, and hears it from them.
    pub notices: Arc<dyn Notices>,
    /// Hashes refresh tokens for the journal.
    pub hasher: Arc<TokenHasher>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The name of this process in leases.
    pub owner: String,
    /// Who waits in this process, and what is under way.
    pub desk: Desk,
}

/// A session ready for one call.
#[derive(Debug, Clone)]
pub struct Usable {
    /// Which.
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
    /// When its PDS ends it whatever AIP does, if that is known.
    pub ends_at: Option<Timestamp>,
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
    Vault(#[from] VaultError),
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
            Self::MissingKey(_) | Self::Vault(_) | Self::Storage(_) => Blame::Ours,
        }
    }
}

impl Keeper {
    /// The session `id`, refreshed if it is stale.
    pub async fn usable(self: &Arc<Self>, id: RowId) -> Result<Usable, KeeperError> {
        self.ready(id, Occasion::Use).await
    }

    /// The session again after its PDS rejected the access token of `generation` (401
    /// `invalid_token`): refreshed unless somebody did so meanwhile.
    pub async fn usable_after_rejection(
        self: &Arc<Self>,
        id: RowId,
        generation: i64,
    ) -> Result<Usable, KeeperError> {
        self.ready(id, Occasion::Rejected(generation)).await
    }

    /// The newest usable session of that kind, if there is one.
    pub async fn session_for(
        &self,
        client: &ClientId,
        did: &Did,
        kind: SessionKind,
    ) -> Result<Option<UpstreamSession>, KeeperError> {
        Ok(self
            .storage
            .usable_upstream_session(kind, client, did)
            .await?)
    }

    async fn ready(self: &Arc<Self>, id: RowId, occasion: Occasion) -> Result<Usable, KeeperError> {
        let patience = tokio::time::Instant::now() + PATIENCE;
        let mut seat: Option<Seat<'_>> = None;
        let mut began_with = None;
        loop {
            // Who waits sits down before reading, so that no news falls in between.
            let news = seat.as_ref().map(Seat::news);
            let session = self
                .storage
                .upstream_session(id)
                .await?
                .ok_or(KeeperError::Unknown)?;
            let now = self.clock.now();
            let occasion = if session.generation > *began_with.get_or_insert(session.generation) {
                Occasion::Renewed
            } else {
                occasion
            };
            let until = match plan(&session, occasion, now) {
                Plan::Use => return self.open(&session),
                Plan::Reauthenticate(reason) => return Err(KeeperError::NeedsReauth(reason)),
                Plan::Ended(reason) => return Err(KeeperError::Ended(reason)),
                Plan::NotBefore(at) => return Err(KeeperError::Later(at.since(now))),
                Plan::Wait(until) => Some(until),
                Plan::Refresh => match self.pause_of(&session) {
                    Some(_) if is_usable(&session, occasion, now) => return self.open(&session),
                    Some(pause) => return Err(KeeperError::Later(pause)),
                    None => self.refresh(&session, now).await?,
                },
            };
            match (until, news) {
                (None, _) => {}
                (Some(_), None) => {
                    metrics::counter!("aip_upstream_collisions_prevented_total").increment(1);
                    seat = Some(self.desk.sit(id));
                }
                // Also without news it is looked again: they may be lost on their way here.
                (Some(until), Some(news)) => {
                    drop(tokio::time::timeout(until.since(now).min(POLL), news).await);
                }
            }
            if tokio::time::Instant::now() >= patience {
                return Err(KeeperError::Later(POLL));
            }
        }
    }

    /// How long the servers of a session are to be left alone, if they are.
    fn pause_of(&self, session: &UpstreamSession) -> Option<Duration> {
        let origins = self.pds.origins();
        let issuer = session.issuer().map(Issuer::origin);
        let issuer = issuer.and_then(|origin| origins.refresh_wait(origin));
        origins.refresh_wait(&session.pds).max(issuer)
    }

    /// Takes the lease and refreshes in a task of its own, which neither a caller that leaves nor
    /// a shutdown aborts. Returns when that is done, or takes longer than a caller waits; until
    /// when somebody else has the lease, if so.
    async fn refresh(
        self: &Arc<Self>,
        session: &UpstreamSession,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, KeeperError> {
        // An attempt outlives its lease when the database is away: what it received has to be
        // stored before this process sends anything again.
        let Some(place) = Place::take(self, session.id) else {
            return Ok(Some(now + POLL));
        };
        let taken = self
            .storage
            .lease(session.id, session.generation, &self.owner, LEASE, now)
            .await?;
        let claim = match taken {
            TakeLease::Leased(claim) => claim,
            TakeLease::Held(until) => return Ok(Some(until)),
            TakeLease::Changed => return Ok(None),
        };
        let session = session.clone();
        let attempt = async move {
            let outcome = place.keeper.attempt(&session, &claim).await;
            let settled = Notice::SessionSettled(session.id);
            place.keeper.notices.publish(&settled).await;
            drop(place);
            outcome
        };
        let attempt = tokio::spawn(RequestNotes::carried_into(attempt.in_current_span()));
        // A panic in the task is a defect that was logged; the lease lapses by itself.
        if let Ok(Ok(outcome)) = tokio::time::timeout(PATIENCE, attempt).await {
            outcome?;
        }
        Ok(None)
    }

    fn open(&self, session: &UpstreamSession) -> Result<Usable, KeeperError> {
        let auth = match &session.credential {
            Credential::OAuth(oauth) => CallAuth::Dpop(self.keys(session.id, oauth)?),
            Credential::AppPassword(_) => CallAuth::Bearer,
        };
        Ok(Usable {
            id: session.id,
            did: session.did.clone(),
            pds: session.pds.clone(),
            scope: session.scope.clone(),
            auth,
            access: self
                .vault
                .open(&session.tokens.access, Column::AccessToken, session.id)?,
            usable_until: usable_until(session.refreshed_at, session.tokens.access_expires_at),
            ends_at: step::ends_at(session),
            generation: session.generation,
        })
    }

    fn keys(&self, id: RowId, oauth: &OAuthCredential) -> Result<SessionKeys, KeeperError> {
        let kid = oauth.client_key_id.as_deref();
        Ok(SessionKeys {
            session: id.to_string(),
            client: self.identity.for_session(&oauth.upstream_client_id, kid)?,
            dpop: self.vault.open_key(&oauth.dpop_key, id)?,
        })
    }

    /// Waits until no refresh is under way in this process, or until `patience` has passed.
    /// Returns how many were still under way.
    pub async fn drain(&self, patience: Duration) -> usize {
        let drained = async {
            loop {
                let idle = self.desk.idle.notified();
                if self.desk.busy() == 0 {
                    return;
                }
                idle.await;
            }
        };
        drop(tokio::time::timeout(patience, drained).await);
        self.desk.busy()
    }
}
