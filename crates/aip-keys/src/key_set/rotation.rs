//! Which step of a rotation is due. Pure: whoever keeps the set does the step and stores the set.
//!
//! A key is published → active → published (superseded) → retired → removed. Each step is one change of
//! the set, and what comes next follows from the times in it alone: whoever was killed between two
//! steps, or another process, goes on with the next one.

use std::time::Duration;

use aip_base::{Clock, Rng, Timestamp};
use aip_jose::Alg;

use super::{Entry, KeySet, KeySetError, KeyState, Purpose};

/// When keys are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationPolicy {
    /// How long a key signs towards PDSs what is new; `None`: it is not rotated.
    pub upstream_every: Option<Duration>,
    /// How long a key signs towards apps what is new; `None`: it is not rotated.
    pub oidc_every: Option<Duration>,
    /// How long a key signs as a service; `None`: it is not rotated.
    pub service_auth_every: Option<Duration>,
    /// How long a key is published before it signs, so that every process publishes it and every
    /// cache of the public keys has been renewed.
    pub publish_before_use: Duration,
    /// How long a key stays published after another one signs: as long as something that it signed
    /// can be valid and a process may not have learned of the other.
    pub publish_after_use: Duration,
    /// How long a retired key towards apps verifies `id_token_hint`s.
    pub verify_after_retirement: Duration,
}

/// One change of a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationStep {
    /// Makes a key and publishes it.
    Publish {
        /// What it is for.
        purpose: Purpose,
        /// Its algorithm.
        alg: Alg,
    },
    /// Lets a published key sign what is new.
    Activate {
        /// The key.
        kid: String,
    },
    /// Takes a key out of the public set.
    Retire {
        /// The key.
        kid: String,
    },
    /// Forgets a retired key.
    Remove {
        /// The key.
        kid: String,
    },
}

/// The purposes and algorithms that each have a key of their own; one without an active key is not
/// rotated.
const ROTATED: [(Purpose, Alg); 5] = [
    (Purpose::Upstream, Alg::Es256),
    (Purpose::Oidc, Alg::Es256),
    (Purpose::Oidc, Alg::Rs256),
    (Purpose::Oidc, Alg::EdDsa),
    (Purpose::ServiceAuth, Alg::Es256),
];

impl RotationPolicy {
    /// Whether any key is rotated.
    pub fn rotates(&self) -> bool {
        let periods = [
            self.upstream_every,
            self.oidc_every,
            self.service_auth_every,
        ];
        periods.iter().any(Option::is_some)
    }

    fn every(&self, purpose: Purpose) -> Option<Duration> {
        match purpose {
            Purpose::Upstream => self.upstream_every,
            Purpose::Oidc => self.oidc_every,
            Purpose::ServiceAuth => self.service_auth_every,
        }
    }
}

impl RotationStep {
    /// Its name in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Activate { .. } => "activate",
            Self::Retire { .. } => "retire",
            Self::Remove { .. } => "remove",
        }
    }
}

impl KeySet {
    /// Fills in the times that are not known and that a rotation counts from.
    pub fn complete_times(&mut self, now: Timestamp) {
        for entry in &mut self.entries {
            entry.times.complete(entry.state, now);
        }
    }

    /// The step that is due at `now`, if one is. `pinned` are the upstream keys that sessions are
    /// bound to, with their number; without it, no upstream key is retired.
    pub fn next_step(
        &self,
        policy: &RotationPolicy,
        pinned: Option<&[(String, u64)]>,
        now: Timestamp,
    ) -> Option<RotationStep> {
        ROTATED.into_iter().find_map(|(purpose, alg)| {
            let every = policy.every(purpose)?;
            let active = self.entries.iter().find(|it| it.signs(purpose, alg))?;
            let keys = || {
                let all = self.entries.iter();
                all.filter(move |it| it.purpose == purpose && it.key.alg() == alg)
            };
            next_signer(active, keys(), every, policy, now)
                .or_else(|| outdated(active, keys(), policy, pinned, now))
        })
    }

    /// Does a step.
    pub fn apply(
        &mut self,
        step: &RotationStep,
        now: Timestamp,
        rng: &dyn Rng,
    ) -> Result<(), KeySetError> {
        match step {
            RotationStep::Publish { purpose, alg } => {
                self.add(*purpose, *alg, &FixedClock(now), rng).map(drop)
            }
            RotationStep::Activate { kid } => self.activate(kid, now),
            RotationStep::Retire { kid } => self.retire(kid, now),
            RotationStep::Remove { kid } => self.remove(kid),
        }
    }
}

/// The successor of `active`: made in time, and let sign when everybody has learned of it.
fn next_signer<'a>(
    active: &Entry,
    keys: impl Iterator<Item = &'a Entry>,
    every: Duration,
    policy: &RotationPolicy,
    now: Timestamp,
) -> Option<RotationStep> {
    let successor = keys
        .filter(|it| is_successor(it, active))
        .max_by_key(|it| it.times.created);
    if let Some(successor) = successor {
        let known_by_all = successor.times.published? + policy.publish_before_use;
        return (now >= known_by_all).then(|| RotationStep::Activate {
            kid: successor.kid.clone(),
        });
    }
    let superseded_at = active.times.activated? + every;
    (now + policy.publish_before_use >= superseded_at).then(|| RotationStep::Publish {
        purpose: active.purpose,
        alg: active.key.alg(),
    })
}

/// The first key that is not needed any more.
fn outdated<'a>(
    active: &Entry,
    mut keys: impl Iterator<Item = &'a Entry>,
    policy: &RotationPolicy,
    pinned: Option<&[(String, u64)]>,
    now: Timestamp,
) -> Option<RotationStep> {
    keys.find_map(|key| {
        let kid = key.kid.clone();
        match key.state {
            KeyState::Active => None,
            KeyState::Published => {
                // A key that never signed is as old as the one that signs instead of it.
                let superseded = key.times.superseded.or(active.times.activated)?;
                let over = !is_successor(key, active)
                    && now >= superseded + policy.publish_after_use
                    && is_unbound(key, pinned);
                over.then_some(RotationStep::Retire { kid })
            }
            KeyState::Retired => {
                // What an upstream key signed lived a minute, and a DID document has no retired keys.
                let verifies = match key.purpose {
                    Purpose::Upstream | Purpose::ServiceAuth => Duration::ZERO,
                    Purpose::Oidc => policy.verify_after_retirement,
                };
                let over = now >= key.times.retired? + verifies;
                over.then_some(RotationStep::Remove { kid })
            }
        }
    })
}

/// Whether `key` was published to take the place of `active`, and never signed.
fn is_successor(key: &Entry, active: &Entry) -> bool {
    key.state == KeyState::Published
        && key.times.activated.is_none()
        && key.times.created > active.times.created
}

fn is_unbound(key: &Entry, pinned: Option<&[(String, u64)]>) -> bool {
    key.purpose != Purpose::Upstream
        || pinned.is_some_and(|pinned| pinned.iter().all(|(kid, _)| *kid != key.kid))
}

/// The clock that stands at the instant of a step.
struct FixedClock(Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests;
