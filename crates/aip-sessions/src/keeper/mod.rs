//! The keeper: refreshes upstream sessions once, at the right time, and never gives one up for a
//! failure that may pass. [`step`] decides, this drives.

pub mod step;

mod attempt;
mod revoker;
mod rounds;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aip_atproto::{Did, Origin, ScopeSet};
use aip_base::{Blame, Clock, Rng, RowId, Timestamp};
use aip_keys::TokenHasher;
use aip_pds::{PdsClient, SessionKeys};
use aip_storage::upstream::{EndReason, ReauthReason, TakeLease, UpstreamSession};
use aip_storage::{Storage, StorageError};
use secrecy::SecretString;
use tokio::sync::Notify;

use self::step::{Occasion, Plan, plan};
use crate::identity::{MissingKey, UpstreamIdentity};
use crate::vault::{Column, Vault, VaultError};

/// How long one refresh may take, from the lease to the stored tokens: 45 s for the identity proof,
/// two requests of 15 s for the exchange (one more for a nonce), the rest is for the write.
const LEASE: Duration = Duration::from_secs(90);
/// How long a caller waits for somebody else's refresh before it looks again by itself.
const POLL: Duration = Duration::from_millis(500);
/// How long a caller waits in all.
const PATIENCE: Duration = Duration::from_secs(45);

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

/// What is under way in this process: waiters are woken as soon as a session settles, and
/// shutdown waits until nothing is.
#[derive(Default)]
pub struct Desk {
    sessions: Mutex<HashMap<RowId, Arc<Notify>>>,
    idle: Notify,
}

/// The one attempt of this process for a session. Whoever waits is woken when it is dropped, also
/// by a panic.
struct Place {
    keeper: Arc<Keeper>,
    id: RowId,
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
    /// What calls are signed with.
    pub keys: SessionKeys,
    /// The access token.
    pub access: SecretString,
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

    async fn ready(self: &Arc<Self>, id: RowId, occasion: Occasion) -> Result<Usable, KeeperError> {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            let session = self
                .storage
                .upstream_session(id)
                .await?
                .ok_or(KeeperError::Unknown)?;
            let now = self.clock.now();
            match plan(&session, occasion, now) {
                Plan::Use => return self.open(&session),
                Plan::Reauthenticate(reason) => return Err(KeeperError::NeedsReauth(reason)),
                Plan::Ended(reason) => return Err(KeeperError::Ended(reason)),
                Plan::NotBefore(at) => return Err(KeeperError::Later(at.since(now))),
                Plan::Wait(until) => self.wait(id, until, now).await,
                Plan::Refresh => self.refresh(&session, now).await?,
            }
            if tokio::time::Instant::now() >= patience {
                return Err(KeeperError::Later(POLL));
            }
        }
    }

    /// Takes the lease and refreshes in a task of its own, which neither a caller that leaves nor
    /// a shutdown aborts. Returns when this process has nothing more to do for the session, or
    /// when that takes longer than a caller waits.
    async fn refresh(
        self: &Arc<Self>,
        session: &UpstreamSession,
        now: Timestamp,
    ) -> Result<(), KeeperError> {
        // An attempt outlives its lease when the database is away: what it received has to be
        // stored before this process sends anything again.
        let Some(place) = Place::take(self, session.id) else {
            self.wait(session.id, now + POLL, now).await;
            return Ok(());
        };
        let taken = self
            .storage
            .lease(session.id, session.generation, &self.owner, LEASE, now)
            .await?;
        let lease = match taken {
            TakeLease::Leased(lease) => lease,
            TakeLease::Held(until) => {
                drop(place);
                self.wait(session.id, until, now).await;
                return Ok(());
            }
            TakeLease::Changed => return Ok(()),
        };
        let session = session.clone();
        let attempt = tokio::spawn(async move {
            let outcome = place.keeper.attempt(&session, &lease).await;
            drop(place);
            outcome
        });
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok(outcome)) => outcome,
            // A panic in the task is a defect that was logged; the lease lapses by itself.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    async fn wait(&self, id: RowId, until: Timestamp, now: Timestamp) {
        let settled = self.desk.place(id);
        let longest = until.since(now).min(POLL);
        match settled {
            // Woken at once by the task of this process; the time-out covers other processes.
            Some(notify) => drop(tokio::time::timeout(longest, notify.notified()).await),
            None => tokio::time::sleep(longest.min(Duration::from_millis(50))).await,
        }
    }

    fn open(&self, session: &UpstreamSession) -> Result<Usable, KeeperError> {
        Ok(Usable {
            id: session.id,
            did: session.did.clone(),
            pds: session.pds.clone(),
            scope: session.scope.clone(),
            keys: self.keys(session)?,
            access: self
                .vault
                .open(&session.tokens.access, Column::AccessToken, session.id)?,
            generation: session.generation,
        })
    }

    fn keys(&self, session: &UpstreamSession) -> Result<SessionKeys, KeeperError> {
        let kid = session.client_key_id.as_deref();
        Ok(SessionKeys {
            session: session.id.to_string(),
            client: self
                .identity
                .for_session(&session.upstream_client_id, kid)?,
            dpop: self.vault.open_key(&session.dpop_key, session.id)?,
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

impl Desk {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RowId, Arc<Notify>>> {
        // The map is consistent after each operation, so a panic elsewhere poisons nothing.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody else had entered.
    fn enter(&self, id: RowId) -> bool {
        match self.lock().entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Arc::default());
                true
            }
        }
    }

    fn place(&self, id: RowId) -> Option<Arc<Notify>> {
        self.lock().get(&id).map(Arc::clone)
    }

    fn leave(&self, id: RowId) {
        if let Some(waiters) = self.lock().remove(&id) {
            waiters.notify_waiters();
        }
        self.idle.notify_waiters();
    }

    fn busy(&self) -> usize {
        self.lock().len()
    }
}

impl Place {
    /// `None`: an attempt for the session is under way in this process.
    fn take(keeper: &Arc<Keeper>, id: RowId) -> Option<Self> {
        keeper.desk.enter(id).then(|| Self {
            keeper: Arc::clone(keeper),
            id,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.keeper.desk.leave(self.id);
    }
}
