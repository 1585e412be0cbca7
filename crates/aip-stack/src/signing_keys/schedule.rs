//! What is due in the life of the keys. A pure function of the set, of what is deployed and of the
//! time: run again after a kill at any point, it finds what is left.
//!
//! A key signs for [`Schedule::every`], or not much longer; since it was made, if it does not say since
//! when. One that does not say that either has signed long enough. Its successor is published and deployed first, and activated when verifiers must have
//! learned of it. A key for PDSs stays published for good: sessions are bound to it. Any other is
//! retired when nothing that it signed can be valid any more, and removed a period later.

use std::time::Duration;

use aip_base::{Clock, Rng, Timestamp};
use aip_jose::Alg;

use super::{ACTIVE, KeyView, PUBLISHED, Purpose, RETIRED, SigningKeys, SigningKeysError};

/// How long a key is published before it signs: a PDS keeps a copy of the keys for ten minutes, and
/// the key sets are served with `max-age` of less.
pub const MIN_PUBLISHED: Duration = Duration::from_mins(10);

/// How long keys stay in their states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How long a key signs, and how long a retired one is kept.
    pub every: Duration,
    /// How long a key for apps stays published when another one signs: at least the longest life of
    /// what it signed, and the time for which apps keep a copy of the keys.
    pub overlap: Duration,
}

/// The key sets that were deployed and when each deployment ended, newest first. Every one is good.
pub struct Deployed<K>(pub Vec<(Timestamp, K)>);

/// One change of the key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new key is generated and published.
    Publish(Purpose, Alg),
    /// A published key signs from now on.
    Activate(String),
    /// A key is taken out of the public set.
    Retire(String),
    /// A retired key is forgotten.
    Remove(String),
}

/// What is due now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// In the order in which they are to be made.
    pub steps: Vec<Step>,
    /// When something is due next, if nothing else happens. None if that depends on a deployment.
    pub next: Option<Timestamp>,
}

/// The keys of one purpose and algorithm, in the order of the set: of them one signs.
pub(super) struct KeySequence {
    pub(super) purpose: Purpose,
    alg: Option<&'static str>,
    keys: Vec<KeyView>,
}

impl KeySequence {
    /// The keys behind the active one. Those before it were active themselves.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &KeyView> {
        let active = self.active_at().map_or(0, |at| at + 1);
        self.keys[active..]
            .iter()
            .filter(|key| key.state == PUBLISHED)
    }

    /// The place of the last active key. Of keys for PDSs several can be named as active.
    fn active_at(&self) -> Option<usize> {
        self.keys.iter().rposition(|key| key.state == ACTIVE)
    }
}

impl<K> Default for Deployed<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Deployed<K> {
    /// Since when something holds for every deployment up to the last one.
    pub(crate) fn since(&self, holds: impl Fn(&K) -> bool) -> Option<Timestamp> {
        let unbroken = self.0.iter().take_while(|(_, keys)| holds(keys));
        unbroken.last().map(|(ended, _)| *ended)
    }

    /// Whether something held for a deployment.
    pub(crate) fn ever(&self, holds: impl Fn(&K) -> bool) -> bool {
        self.0.iter().any(|(_, keys)| holds(keys))
    }
}

impl Deployed<SigningKeys> {
    /// Since when every deployment up to the last one has had the key.
    pub fn published_since(&self, kid: &str) -> Option<Timestamp> {
        self.since(|keys| keys.has(kid))
    }

    /// Since when the key has signed in every deployment up to the last one.
    fn active_since(&self, kid: &str) -> Option<Timestamp> {
        self.since(|keys| {
            let is_active = |key: KeyView| key.kid == kid && key.state == ACTIVE;
            keys.list().into_iter().any(is_active)
        })
    }
}

impl Due {
    /// A step that is due at a time.
    fn add_step(&mut self, time: Timestamp, now: Timestamp, step: Step) {
        if time <= now {
            self.steps.push(step);
        } else {
            self.next = Some(self.next.map_or(time, |next| next.min(time)));
        }
    }
}

impl SigningKeys {
    /// The keys by purpose and algorithm.
    pub(super) fn key_sequences(&self) -> Vec<KeySequence> {
        let mut sequences: Vec<KeySequence> = Vec::new();
        for key in self.list() {
            let of_key = |sequence: &&mut KeySequence| {
                (sequence.purpose, sequence.alg) == (key.purpose, key.alg)
            };
            match sequences.iter_mut().find(of_key) {
                Some(sequence) => sequence.keys.push(key),
                None => sequences.push(KeySequence {
                    purpose: key.purpose,
                    alg: key.alg,
                    keys: vec![key],
                }),
            }
        }
        sequences
    }

    /// What is due now for the keys of a purpose, or of every purpose.
    ///
    /// Fails if no key of the purpose (of every purpose: for PDSs) is known to sign, since then nobody
    /// can say what follows it.
    pub fn due(
        &self,
        purpose: Option<Purpose>,
        schedule: Schedule,
        deployed: &Deployed<SigningKeys>,
        now: Timestamp,
    ) -> Result<Due, SigningKeysError> {
        let mut due = Due::default();
        let needed = purpose.unwrap_or(Purpose::Upstream);
        let mut signs = false;
        for sequence in self.key_sequences() {
            if purpose.is_some_and(|purpose| purpose != sequence.purpose) {
                continue;
            }
            if let Some(active) = sequence.active_at() {
                signs |= sequence.purpose == needed;
                successor(&sequence, active, schedule, deployed, now, &mut due);
                if sequence.purpose != Purpose::Upstream {
                    predecessors(&sequence, active, schedule, deployed, now, &mut due);
                }
            }
        }
        if signs {
            Ok(due)
        } else {
            Err(SigningKeysError::NoneActive(needed))
        }
    }

    /// Makes a step. Returns the id of the key.
    pub fn make(
        &mut self,
        step: &Step,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<String, SigningKeysError> {
        let now = clock.now();
        let (made, kid) = match step {
            Step::Publish(purpose, alg) => return self.add(*purpose, *alg, clock, rng),
            Step::Activate(kid) => (self.activate(kid, now), kid),
            Step::Retire(kid) => (self.retire(kid, now), kid),
            Step::Remove(kid) => (self.remove(kid), kid),
        };
        made.map(|()| kid.clone())
    }
}

/// The key that follows the active one: published when its time has passed, activated when everybody
/// knows it.
fn successor(
    sequence: &KeySequence,
    active: usize,
    schedule: Schedule,
    deployed: &Deployed<SigningKeys>,
    now: Timestamp,
    due: &mut Due,
) {
    // A key that was active once and is published again was sent back by somebody.
    let never_active = |key: &&KeyView| key.times.activated.is_none();
    if let Some(waiting) = sequence.waiting().filter(never_active).last() {
        // Not deployed yet: that comes first.
        if let Some(since) = deployed.published_since(&waiting.kid) {
            let step = Step::Activate(waiting.kid.clone());
            due.add_step(since + MIN_PUBLISHED, now, step);
        }
        return;
    }
    let key = &sequence.keys[active];
    let Some(alg) = key.alg.and_then(|name| name.parse::<Alg>().ok()) else {
        return;
    };
    let since = key.times.activated.or(key.times.created);
    let until = since.map_or(now, |at| at + schedule.every);
    due.add_step(until, now, Step::Publish(sequence.purpose, alg));
}

/// The keys before the active one.
fn predecessors(
    sequence: &KeySequence,
    active: usize,
    schedule: Schedule,
    deployed: &Deployed<SigningKeys>,
    now: Timestamp,
    due: &mut Due,
) {
    let replaced = deployed.active_since(&sequence.keys[active].kid);
    let free = sequence.keys[..active]
        .iter()
        .filter(|key| !key.service_auth);
    for key in free {
        match (key.state, replaced, key.times.retired) {
            (PUBLISHED, Some(replaced), _) => {
                due.add_step(
                    replaced + schedule.overlap,
                    now,
                    Step::Retire(key.kid.clone()),
                );
            }
            (RETIRED, _, Some(retired)) => {
                due.add_step(retired + schedule.every, now, Step::Remove(key.kid.clone()));
            }
            _ => {}
        }
    }
}
