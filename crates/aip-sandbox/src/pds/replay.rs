//! What was used once: the `jti`s of `DPoP` proofs and client assertions.

use std::collections::HashSet;
use std::time::Duration;

use aip_base::Timestamp;

/// Longer than any proof or assertion is accepted for.
const GENERATION: Duration = Duration::from_mins(5);

/// Remembers names for at least [`GENERATION`] and at most twice as long.
pub(crate) struct UsedOnce {
    since: Timestamp,
    current: HashSet<String>,
    previous: HashSet<String>,
}

impl UsedOnce {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            current: HashSet::new(),
            previous: HashSet::new(),
        }
    }

    /// Uses `name` up. `false` when it was used before.
    pub(crate) fn spend(&mut self, name: &str, now: Timestamp) -> bool {
        if now.since(self.since) > GENERATION {
            self.previous = std::mem::take(&mut self.current);
            self.since = now;
        }
        !self.previous.contains(name) && self.current.insert(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_spent_once_and_forgotten_in_the_end() {
        let at = Timestamp::from_secs;
        let mut used = UsedOnce::new(at(0));
        assert!(used.spend("a", at(0)));
        assert!(!used.spend("a", at(299)));
        assert!(!used.spend("a", at(301)));
        assert!(used.spend("b", at(301)));
        assert!(used.spend("a", at(602)));
    }
}
