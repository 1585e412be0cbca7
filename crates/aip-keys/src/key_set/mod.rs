//! The private keys that AIP signs with.
//!
//! A key has one purpose and never changes it: a PDS must not be able to take an `id_token` for
//! a client assertion, nor an app the reverse. For each purpose and algorithm one key is active.
//!
//! Life of a key: *published* (in the public set, so that caches learn it) → *active* (signs what
//! is new) → *published* again (upstream sessions stay bound to their key for life) → *retired*
//! (no longer published, still verifies old `id_token_hint`s) → removed. Each key carries the times
//! of these changes, and from them follows which one is due ([`RotationPolicy`]).

mod error;
mod file;
mod imported;
mod kinds;
mod rotation;
mod times;

use std::fmt;
use std::sync::Arc;

use aip_base::{Clock, Rng, RowId, Timestamp};
use aip_jose::{Alg, JwkSet, PublicJwk, SigningKey};

pub use error::KeySetError;
pub use kinds::{KeyInfo, KeyState, Purpose};
pub use rotation::{RotationPolicy, RotationStep};
pub use times::KeyTimes;

/// AIP's private keys. There is always an active upstream key.
#[derive(Clone)]
pub struct KeySet {
    upstream: Arc<SigningKey>,
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    key: Arc<SigningKey>,
    kid: String,
    purpose: Purpose,
    state: KeyState,
    times: KeyTimes,
}

/// The algorithms towards apps that every set has a key for. RS256 is the one that every OpenID
/// Connect library knows.
const OIDC_ALGS: [Alg; 2] = [Alg::Es256, Alg::Rs256];

/// The algorithms that a key towards apps may have: those of every set, and `EdDSA` where an operator
/// adds a key for it.
const SUITABLE_OIDC_ALGS: [Alg; 3] = [Alg::Es256, Alg::Rs256, Alg::EdDsa];

impl KeySet {
    /// A fresh set: one upstream key, one key towards apps for each algorithm, one for service
    /// authentication.
    pub fn generate(clock: &dyn Clock, rng: &dyn Rng) -> Result<Self, KeySetError> {
        let upstream =
            Entry::generate(Purpose::Upstream, Alg::Es256, KeyState::Active, clock, rng)?;
        let mut set = Self {
            upstream: Arc::clone(&upstream.key),
            entries: vec![upstream],
        };
        set.add_missing_oidc(clock, rng)?;
        let (purpose, state) = (Purpose::ServiceAuth, KeyState::Active);
        let service_auth = Entry::generate(purpose, Alg::Es256, state, clock, rng)?;
        set.entries.push(service_auth);
        Ok(set)
    }

    /// The key that signs towards PDSs in new sessions.
    pub fn upstream_active(&self) -> &Arc<SigningKey> {
        &self.upstream
    }

    /// The upstream key that a session is bound to, unless it was retired.
    pub fn upstream_by_kid(&self, kid: &str) -> Option<&Arc<SigningKey>> {
        self.published(Purpose::Upstream)
            .find(|entry| entry.kid == kid)
            .map(|entry| &entry.key)
    }

    /// The key that signs towards apps with `alg`.
    pub fn oidc(&self, alg: Alg) -> Option<&Arc<SigningKey>> {
        self.entries
            .iter()
            .find(|entry| entry.signs(Purpose::Oidc, alg))
            .map(|entry| &entry.key)
    }

    /// The key towards apps with this id, even a retired one: to verify an `id_token_hint`.
    pub fn oidc_by_kid(&self, kid: &str) -> Option<&Arc<SigningKey>> {
        self.entries
            .iter()
            .find(|entry| entry.purpose == Purpose::Oidc && entry.kid == kid)
            .map(|entry| &entry.key)
    }

    /// The public keys that PDSs verify AIP with.
    pub fn public_upstream_jwks(&self) -> JwkSet {
        self.public(Purpose::Upstream)
    }

    /// The public keys that apps verify AIP's tokens with.
    pub fn public_oidc_jwks(&self) -> JwkSet {
        self.public(Purpose::Oidc)
    }

    /// The public keys of AIP's own DID document: the one that signs, then those that sign later or
    /// signed before. None in a set that was made without.
    pub fn public_service_auth_keys(&self) -> Vec<&PublicJwk> {
        let mut keys: Vec<&Entry> = self.published(Purpose::ServiceAuth).collect();
        keys.sort_by_key(|entry| entry.state != KeyState::Active);
        keys.into_iter().map(|entry| entry.key.public()).collect()
    }

    /// Every key, as it may be shown.
    pub fn list(&self) -> impl Iterator<Item = KeyInfo<'_>> {
        self.entries.iter().map(|entry| KeyInfo {
            kid: &entry.kid,
            alg: entry.key.alg(),
            purpose: entry.purpose,
            state: entry.state,
            times: entry.times,
        })
    }

    /// Whether `other` has the same keys in the same states.
    pub fn is_same(&self, other: &Self) -> bool {
        let keys = |set: &Self| -> Vec<_> {
            let thumbprints = set.entries.iter().map(|it| it.key.public().thumbprint());
            thumbprints.collect()
        };
        self.list().eq(other.list()) && keys(self) == keys(other)
    }

    /// Generates the keys towards apps that are not there yet, as in a set that was made for
    /// upstream keys alone. Whether there were any, so that the set is to be stored.
    pub fn add_missing_oidc(
        &mut self,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<bool, KeySetError> {
        let missing = OIDC_ALGS
            .into_iter()
            .filter(|alg| self.oidc(*alg).is_none());
        let missing: Vec<_> = missing.collect();
        for alg in &missing {
            let entry = Entry::generate(Purpose::Oidc, *alg, KeyState::Active, clock, rng)?;
            self.entries.push(entry);
        }
        Ok(!missing.is_empty())
    }

    /// Whether a key towards apps is missing, as in a set that was made for upstream keys alone.
    pub fn lacks_oidc(&self) -> bool {
        OIDC_ALGS.into_iter().any(|alg| self.oidc(alg).is_none())
    }

    /// Takes the keys towards apps from `other` for the algorithms that this set has none for.
    pub fn take_oidc_from(&mut self, other: &Self) {
        for alg in SUITABLE_OIDC_ALGS {
            if self.oidc(alg).is_none() {
                let wanted =
                    |entry: &&Entry| entry.purpose == Purpose::Oidc && entry.key.alg() == alg;
                self.entries
                    .extend(other.entries.iter().filter(wanted).cloned());
            }
        }
    }

    /// Generates a key and publishes it; to be activated when caches have learned of it.
    /// Returns its id.
    pub fn add(
        &mut self,
        purpose: Purpose,
        alg: Alg,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<String, KeySetError> {
        let entry = Entry::generate(purpose, alg, KeyState::Published, clock, rng)?;
        let kid = entry.kid.clone();
        self.entries.push(entry);
        Ok(kid)
    }

    /// Lets a published key sign from `now` on; the one that signed before stays published.
    pub fn activate(&mut self, kid: &str, now: Timestamp) -> Result<(), KeySetError> {
        let before: Vec<_> = self.entries.iter().map(|entry| entry.state).collect();
        self.set_active(kid)?;
        for (entry, before) in self.entries.iter_mut().zip(before) {
            match (before, entry.state) {
                (KeyState::Published, KeyState::Active) => entry.times.activate(now),
                (KeyState::Active, KeyState::Published) => entry.times.supersede(now),
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets a published key sign, and leaves the times as they are.
    fn set_active(&mut self, kid: &str) -> Result<(), KeySetError> {
        let chosen = self
            .entries
            .iter()
            .find(|entry| entry.kid == kid)
            .ok_or_else(|| KeySetError::Unknown(kid.to_owned()))?;
        if chosen.state == KeyState::Retired {
            return Err(KeySetError::Retired(kid.to_owned()));
        }
        let (purpose, alg, key) = (chosen.purpose, chosen.key.alg(), Arc::clone(&chosen.key));
        for entry in &mut self.entries {
            if entry.kid == kid {
                entry.state = KeyState::Active;
            } else if entry.signs(purpose, alg) {
                entry.state = KeyState::Published;
            }
        }
        if purpose == Purpose::Upstream {
            self.upstream = key;
        }
        Ok(())
    }

    /// Takes a key out of the public set. Sessions that are bound to it are lost: the caller
    /// makes sure that there are none.
    pub fn retire(&mut self, kid: &str, now: Timestamp) -> Result<(), KeySetError> {
        let number = self.inactive(kid)?;
        let entry = &mut self.entries[number];
        if entry.state != KeyState::Retired {
            entry.state = KeyState::Retired;
            entry.times.retire(now);
        }
        Ok(())
    }

    /// Forgets a key. Sessions that are bound to it are lost: the caller makes sure that there
    /// are none.
    pub fn remove(&mut self, kid: &str) -> Result<(), KeySetError> {
        let number = self.inactive(kid)?;
        self.entries.remove(number);
        Ok(())
    }

    /// The place of a key that is not active.
    fn inactive(&self, kid: &str) -> Result<usize, KeySetError> {
        let number = self
            .entries
            .iter()
            .position(|entry| entry.kid == kid)
            .ok_or_else(|| KeySetError::Unknown(kid.to_owned()))?;
        if self.entries[number].state == KeyState::Active {
            return Err(KeySetError::Active(kid.to_owned()));
        }
        Ok(number)
    }

    fn public(&self, purpose: Purpose) -> JwkSet {
        JwkSet::new(
            self.published(purpose)
                .map(|entry| entry.key.public().clone())
                .collect(),
        )
    }

    fn published(&self, purpose: Purpose) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.purpose == purpose && entry.state != KeyState::Retired)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Entry {
    fn new(
        key: SigningKey,
        purpose: Purpose,
        state: KeyState,
        times: KeyTimes,
    ) -> Result<Self, KeySetError> {
        let kid = key.kid().unwrap_or_default().to_owned();
        let alg = key.alg();
        let suitable = match purpose {
            Purpose::Upstream | Purpose::ServiceAuth => alg == Alg::Es256,
            Purpose::Oidc => SUITABLE_OIDC_ALGS.contains(&alg),
        };
        if !suitable {
            return Err(KeySetError::Unsuitable { kid, alg, purpose });
        }
        Ok(Self {
            key: Arc::new(key),
            kid,
            purpose,
            state,
            times,
        })
    }

    fn generate(
        purpose: Purpose,
        alg: Alg,
        state: KeyState,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Self, KeySetError> {
        // Row ids sort by time, so the newest key is the last one in every list.
        let kid = RowId::new(clock, rng).to_string();
        let key = SigningKey::generate(alg, Some(kid)).map_err(KeySetError::Library)?;
        let now = clock.now();
        let mut times = KeyTimes::published_at(now);
        if state == KeyState::Active {
            times.activate(now);
        }
        Self::new(key, purpose, state, times)
    }

    fn signs(&self, purpose: Purpose, alg: Alg) -> bool {
        self.state == KeyState::Active && self.purpose == purpose && self.key.alg() == alg
    }
}

#[cfg(test)]
mod tests;
