//! The key set of a running process, which is replaced as a whole when its source has changed.

use std::sync::{Arc, PoisonError, RwLock};

use crate::{KeySet, KeyState, Purpose};

/// The key set in use. Whoever signs asks for it each time and keeps nothing of it.
#[derive(Debug)]
pub struct KeyRing {
    set: RwLock<Arc<KeySet>>,
    /// Why this process should get no requests, if the keys are at fault.
    problem: RwLock<Option<String>>,
}

/// Why a key set does not take the place of the one in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// A key that signs now is not in the new set.
    #[error(
        "the active {purpose} key `{kid}` is not in the new set: keep it there beside a new one"
    )]
    ActiveDropped {
        /// The key.
        kid: String,
        /// What it signs.
        purpose: Purpose,
    },
    /// A key that sessions are bound to is not in the new set.
    #[error(
        "the key set lacks the upstream key `{kid}`, which {sessions} session(s) are bound to for \
         life"
    )]
    PinnedDropped {
        /// The key.
        kid: String,
        /// How many sessions would be lost.
        sessions: u64,
    },
}

impl KeyRing {
    /// Begins with `set`.
    pub fn new(set: KeySet) -> Self {
        Self {
            set: RwLock::new(Arc::new(set)),
            problem: RwLock::new(None),
        }
    }

    /// The set as it is now.
    pub fn current(&self) -> Arc<KeySet> {
        // The value is one pointer, whole at any time.
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&set)
    }

    /// Why this process should get no requests: its source of keys lacks one that signs or
    /// that sessions are bound to, or cannot be used.
    pub fn problem(&self) -> Option<String> {
        let problem = self.problem.read().unwrap_or_else(PoisonError::into_inner);
        problem.clone()
    }

    /// Notes why this process should get no requests, or that it should.
    pub fn set_problem(&self, problem: Option<String>) {
        *self.problem.write().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Whether the set in use has the keys that sessions are bound to; a lack is noted as the
    /// [`problem`](Self::problem).
    pub fn check(&self, pinned: &[(String, u64)]) -> Result<(), ReplaceError> {
        self.record_problem(self.current().covers(pinned))
    }

    /// Puts `set` in the place of the present one, unless it lacks a key in use: one of `pinned`,
    /// the upstream keys that sessions are bound to, which is noted as the
    /// [`problem`](Self::problem), or one that is active here.
    pub fn replace(&self, set: KeySet, pinned: &[(String, u64)]) -> Result<(), ReplaceError> {
        if let Err(lacking) = set.covers(pinned) {
            return self.record_problem(Err(lacking));
        }
        let mut present = self.set.write().unwrap_or_else(PoisonError::into_inner);
        for active in present.list().filter(|key| key.state == KeyState::Active) {
            if !set.list().any(|key| key.kid == active.kid) {
                // What was wrong with the set in use is so still.
                return Err(ReplaceError::ActiveDropped {
                    kid: active.kid.to_owned(),
                    purpose: active.purpose,
                });
            }
        }
        *present = Arc::new(set);
        drop(present);
        self.record_problem(Ok(()))
    }

    /// Puts `set`, which every process has, in the place of the present one, whatever it lacks.
    pub fn adopt(&self, set: KeySet, pinned: &[(String, u64)]) -> Result<(), ReplaceError> {
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        self.check(pinned)
    }

    fn record_problem(&self, covered: Result<(), ReplaceError>) -> Result<(), ReplaceError> {
        self.set_problem(covered.as_ref().err().map(ToString::to_string));
        covered
    }
}

impl KeySet {
    /// Refuses a set that lacks one of `pinned`, the upstream keys that sessions are bound to.
    pub fn covers(&self, pinned: &[(String, u64)]) -> Result<(), ReplaceError> {
        match pinned
            .iter()
            .find(|(kid, _)| self.upstream_by_kid(kid).is_none())
        {
            None => Ok(()),
            Some((kid, sessions)) => Err(ReplaceError::PinnedDropped {
                kid: kid.clone(),
                sessions: *sessions,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use aip_base::{Clock as _, SystemClock, SystemRng};
    use aip_jose::Alg;

    use super::*;

    fn add_upstream(set: &mut KeySet) -> String {
        set.add(Purpose::Upstream, Alg::Es256, &SystemClock, &SystemRng)
            .unwrap()
    }

    #[test]
    fn a_new_key_is_taken_over_and_a_dropped_one_is_refused() {
        let first = KeySet::generate(&SystemClock, &SystemRng).unwrap();
        let ring = KeyRing::new(first.clone());
        let mut more = first.clone();
        let added = add_upstream(&mut more);
        ring.replace(more.clone(), &[]).unwrap();
        assert!(ring.current().upstream_by_kid(&added).is_some());

        // Without the key that signs at present, in a set of its own.
        let other = KeySet::generate(&SystemClock, &SystemRng).unwrap();
        let refused = ring.replace(other, &[]);
        assert!(matches!(refused, Err(ReplaceError::ActiveDropped { .. })));

        // Without a key that no longer signs, but that sessions are bound to.
        more.activate(&added, SystemClock.now()).unwrap();
        ring.replace(more.clone(), &[]).unwrap();
        let old = first.list().find(|key| key.purpose == Purpose::Upstream);
        let old = old.unwrap().kid.to_owned();
        more.remove(&old).unwrap();
        let refused = ring.replace(more.clone(), &[(old.clone(), 3)]);
        assert_eq!(
            refused,
            Err(ReplaceError::PinnedDropped {
                kid: old.clone(),
                sessions: 3
            })
        );
        assert!(ring.current().upstream_by_kid(&old).is_some());
        let problem = ring.problem().unwrap();
        assert!(problem.contains(&old) && problem.contains("3 session(s)"));
        // What is refused for another reason changes nothing about it.
        let foreign = KeySet::generate(&SystemClock, &SystemRng).unwrap();
        let refused = ring.replace(foreign, &[]);
        assert!(matches!(refused, Err(ReplaceError::ActiveDropped { .. })));
        assert_eq!(ring.problem(), Some(problem));
        ring.replace(more, &[]).unwrap();
        assert!(ring.current().upstream_by_kid(&old).is_none());
        assert_eq!(ring.problem(), None);

        // What every process has is taken whatever it lacks, and said to lack it.
        let other = KeySet::generate(&SystemClock, &SystemRng).unwrap();
        let kid = other.upstream_active().kid().unwrap().to_owned();
        assert!(ring.adopt(other, &[(old.clone(), 1)]).is_err());
        assert_eq!(ring.current().upstream_active().kid(), Some(kid.as_str()));
        assert!(ring.problem().is_some());
        ring.check(&[]).unwrap();
        assert_eq!(ring.problem(), None);
    }
}
