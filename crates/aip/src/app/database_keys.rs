//! The key set in the database, and its rotation by the server itself.
//!
//! Who has AIP rotate its keys (`keys.rotate_upstream_every`, `keys.rotate_oidc_every`,
//! `keys.rotate_service_auth_every`) keeps the signing keys in the database, whether one process works
//! on it or many: the set is one sealed value (`signing_key_sets`) that every process reads again each
//! [`POLL_INTERVAL`]. The first process that rotates stores the keys it was started with. Keys that are
//! given from outside (`keys.json_web_keys`) are rotated outside, and the configuration refuses both at
//! once.
//!
//! A step of a rotation (`aip_keys::RotationStep`) is one statement that changes the set of the
//! generation that was read. Of several processes one succeeds, and the others read what it stored: no
//! lease is needed, and a process that is killed before or after the statement leaves a set in which
//! the next step is the same or the one after it.
//!
//! That every process and every cache knows a key before one signs with it follows from time: a key is
//! activated `publish_before_use` after it was published, on the clock of the database, and that is as
//! long as public keys are cached and two poll intervals more. A process that cannot read the set is
//! not ready meanwhile ([`KeyRing::problem`], or the database does not answer at all).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aip_base::{Clock, Periodic, Rng, Timestamp};
use aip_keys::{
    KeyRing, KeySet, KeySetError, ReplaceError, RotationPolicy, RotationStep, SealError, Sealed,
    Sealer,
};
use aip_storage::operations::SealedColumn;
use aip_storage::signing_keys::KEY_SET_ROW;
use aip_storage::{Storage, StorageError};
use secrecy::ExposeSecret as _;
use tokio::time::{MissedTickBehavior, interval};

/// How often a process reads the key set in the database.
pub const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// How often it is looked whether sessions are bound to a key that no longer signs. That reads every
/// session.
const BOUND_SESSIONS_INTERVAL: Duration = Duration::from_hours(1);

/// Why the key set in the database was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseKeysError {
    /// The database does not answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The set does not open, or was not sealed.
    #[error(
        "the key set in the database (signing_key_sets): {0}; give this process the master keys of the others"
    )]
    Seal(#[from] SealError),
    /// What opened is no key set, or a step was not done on it.
    #[error("the key set in the database (signing_key_sets): {0}")]
    KeySet(#[from] KeySetError),
    /// It lacks a key that sessions are bound to.
    #[error(transparent)]
    Lacks(#[from] ReplaceError),
}

/// The key set in the database.
pub struct DatabaseKeys {
    /// Where it is.
    pub storage: Arc<dyn Storage>,
    /// Opens and seals it.
    pub sealer: Arc<Sealer>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Names the active upstream keys, whatever the set says (`keys.active_signing_keys`).
    pub active_signing_keys: Vec<String>,
}

/// A key set and the generation it is of.
pub struct ReadKeySet {
    /// Grows by one with each change.
    pub generation: u64,
    /// The set.
    pub set: KeySet,
}

impl DatabaseKeys {
    /// The key set, if the database holds one.
    pub async fn read(&self) -> Result<Option<ReadKeySet>, DatabaseKeysError> {
        let Some(stored) = self.storage.signing_key_set().await? else {
            return Ok(None);
        };
        let place = SealedColumn::SigningKeys.place(KEY_SET_ROW);
        let json = self.sealer.open_text(&stored.sealed, place)?;
        let set = KeySet::load_json(json.expose_secret(), &self.active_signing_keys)?;
        Ok(Some(ReadKeySet {
            generation: stored.generation,
            set,
        }))
    }

    /// Stores the first key set, with the times that a rotation counts from. Whether it was the
    /// first; not one that lacks a key of `pinned`, the upstream keys that sessions are bound to.
    pub async fn begin(
        &self,
        set: &KeySet,
        pinned: &[(String, u64)],
        now: Timestamp,
    ) -> Result<bool, DatabaseKeysError> {
        // Sessions may be bound to keys that only the stored set has.
        if self.storage.signing_key_set().await?.is_some() {
            return Ok(false);
        }
        set.covers(pinned)?;
        let mut set = set.clone();
        set.complete_times(now);
        let sealed = self.seal(&set)?;
        Ok(self.storage.begin_signing_key_set(&sealed).await?)
    }

    /// Puts `set` in the place of the one of `generation`. Whether it did.
    pub async fn replace(&self, generation: u64, set: &KeySet) -> Result<bool, DatabaseKeysError> {
        let sealed = self.seal(set)?;
        let replaced = self.storage.replace_signing_key_set(generation, &sealed);
        Ok(replaced.await?)
    }

    fn seal(&self, set: &KeySet) -> Result<Sealed, DatabaseKeysError> {
        let json = set.to_json()?;
        let place = SealedColumn::SigningKeys.place(KEY_SET_ROW);
        let sealed = self
            .sealer
            .seal(&*self.rng, json.expose_secret().as_bytes(), place)?;
        Ok(sealed)
    }
}

/// Keeps the key set of this process as the database has it, and does the steps that are due.
pub struct KeyRotation {
    keys: DatabaseKeys,
    ring: Arc<KeyRing>,
    policy: RotationPolicy,
    /// The generation that this process has.
    generation: Mutex<Option<u64>>,
    bound_sessions: Periodic,
}

impl KeyRotation {
    /// For the process that signs with `ring`.
    pub fn new(keys: DatabaseKeys, ring: Arc<KeyRing>, policy: RotationPolicy) -> Self {
        Self {
            keys,
            ring,
            policy,
            generation: Mutex::new(None),
            bound_sessions: Periodic::new(BOUND_SESSIONS_INTERVAL),
        }
    }

    /// Reads the key set. What is new is used from now on; `false` when the database holds none. A set
    /// that cannot be used is noted as the problem of the key ring.
    pub async fn follow(&self) -> Result<bool, DatabaseKeysError> {
        Ok(self.latest().await?.is_some())
    }

    /// Reads the key set, and does the step that is due at `now`, if one is. Which one it did.
    pub async fn round(&self, now: Timestamp) -> Result<Option<RotationStep>, DatabaseKeysError> {
        let Some(ReadKeySet { generation, set }) = self.latest().await? else {
            return Ok(None);
        };
        let Some(step) = self.due(&set, now).await? else {
            return Ok(None);
        };
        let mut changed = set;
        changed.apply(&step, now, &*self.keys.rng)?;
        if !self.keys.replace(generation, &changed).await? {
            return Ok(None);
        }
        tracing::info!(step = step.name(), detail = ?step, generation = generation + 1, "signing key rotation step done");
        self.latest().await?;
        Ok(Some(step))
    }

    async fn due(
        &self,
        set: &KeySet,
        now: Timestamp,
    ) -> Result<Option<RotationStep>, DatabaseKeysError> {
        if let Some(step) = set.next_step(&self.policy, None, now) {
            return Ok(Some(step));
        }
        // Were no session bound to any key, would there be a step? Otherwise nobody needs to be asked.
        let possible = set.next_step(&self.policy, Some(&[]), now).is_some();
        if !possible || !self.bound_sessions.is_due(now) {
            return Ok(None);
        }
        let pinned = pinned_keys(&*self.keys.storage).await?;
        Ok(set.next_step(&self.policy, Some(&pinned), now))
    }

    async fn latest(&self) -> Result<Option<ReadKeySet>, DatabaseKeysError> {
        let read = match self.keys.read().await {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(None),
            // The probe of the database tells of an outage.
            Err(error @ DatabaseKeysError::Storage(_)) => return Err(error),
            Err(error) => {
                self.ring.set_problem(Some(error.to_string()));
                return Err(error);
            }
        };
        let known = *self.lock_generation() == Some(read.generation);
        if !known || self.ring.problem().is_some() {
            let pinned = pinned_keys(&*self.keys.storage).await?;
            let adopted = self.ring.adopt(read.set.clone(), &pinned);
            *self.lock_generation() = Some(read.generation);
            if !known {
                let keys = read.set.list().count();
                tracing::info!(
                    generation = read.generation,
                    keys,
                    "key set of the database in use"
                );
            }
            if let Err(error) = adopted {
                tracing::error!(%error, "session refresh unavailable");
            }
        }
        Ok(Some(read))
    }

    fn lock_generation(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the key set and rotates it until it is aborted, which loses nothing.
    pub(super) async fn run(&self, clock: &dyn Clock) {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let done = async {
                let now = self.keys.storage.database_time(clock.now()).await?;
                self.round(now).await
            };
            if let Err(error) = done.await {
                tracing::error!(%error, "signing key rotation failed");
            }
        }
    }
}

/// The upstream keys that sessions are bound to, with the number of sessions.
pub(crate) async fn pinned_keys(storage: &dyn Storage) -> Result<Vec<(String, u64)>, StorageError> {
    let uses = storage.client_key_uses().await?.into_iter();
    Ok(uses.map(|it| (it.kid, it.sessions)).collect())
}
