//! The faults, and in which order a run meets them.

use std::time::Duration;

use crate::decisions::Decisions;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A replica dies at once.
    Kill,
    /// A replica is asked to end and started again.
    Terminate,
    /// PostgreSQL restarts without a shutdown.
    Database,
    /// Valkey is killed and comes back empty.
    Valkey,
    /// Clocks of replicas jump apart.
    Skew,
    /// The PDS answers 503.
    Unavailable,
    /// The PDS never answers, and never processed the request.
    TimeOut,
    /// The PDS is slow.
    Stall,
    /// The PDS closes connections before it processed the request.
    ResetBefore,
    /// The PDS closes connections after it spent the refresh token.
    LostAnswer,
    /// The PDS refuses connections for a while.
    PdsRestart,
    /// The PDS forgets sessions: nobody can survive it. Only to show that losses are counted.
    Amnesia,
}

/// How many sessions a fault may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossBound {
    /// None.
    Nothing,
    /// At most those that the replica was refreshing when it died.
    InFlight,
    /// Exactly those whose answer was lost after the PDS spent the refresh token.
    Unavoidable,
}

/// One fault of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// How long everything is left alone before it.
    pub(crate) after: Duration,
    pub(crate) fault: Fault,
}

impl Fault {
    /// What the stand-in of a PDS can be made to do, and everything around it.
    pub(crate) const SANDBOX: &[Self] = &[
        Self::Kill,
        Self::Terminate,
        Self::Database,
        Self::Valkey,
        Self::Skew,
        Self::Unavailable,
        Self::TimeOut,
        Self::Stall,
        Self::ResetBefore,
        Self::LostAnswer,
    ];

    /// What can be done to a real PDS, and everything around it.
    pub(crate) const REAL: &[Self] = &[
        Self::Terminate,
        Self::Database,
        Self::Valkey,
        Self::PdsRestart,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of a replica",
            Self::Terminate => "SIGTERM restart of a replica",
            Self::Database => "PostgreSQL restart -m immediate",
            Self::Valkey => "Valkey killed and wiped",
            Self::Skew => "clock skew of ±30 s",
            Self::Unavailable => "PDS answers 503",
            Self::TimeOut => "PDS never answers",
            Self::Stall => "PDS is slow",
            Self::ResetBefore => "connection reset before processing",
            Self::LostAnswer => "answer lost after processing",
            Self::PdsRestart => "PDS restart",
            Self::Amnesia => "PDS forgets sessions",
        }
    }

    pub(crate) fn bound(self) -> LossBound {
        match self {
            Self::Kill => LossBound::InFlight,
            Self::LostAnswer => LossBound::Unavoidable,
            _ => LossBound::Nothing,
        }
    }
}

/// How long a fault itself takes, about.
const FAULT_DURATION: Duration = Duration::from_secs(3);
/// Long enough for the effects of most faults to be over before the next.
const MAX_GAP: Duration = Duration::from_secs(8);

/// The faults of a run that takes about `time`: every kind in turn, each turn in another order.
///
/// A run ends when every effect has ended, and the leases of a dead replica take longest: it is the
/// first to come, so that they lapse while everything else goes wrong.
pub(crate) fn schedule(decisions: &Decisions, kinds: &[Fault], time: Duration) -> Vec<Step> {
    // Every kind happens at least once.
    let each = time / u32::try_from(kinds.len().max(1)).unwrap_or(u32::MAX);
    let gap = each.saturating_sub(FAULT_DURATION).min(MAX_GAP);
    let mut steps = Vec::new();
    let mut left = time;
    while !kinds.is_empty() && !left.is_zero() {
        let mut turn = kinds.to_vec();
        decisions.shuffle(&mut turn);
        if steps.is_empty() {
            turn.sort_by_key(|fault| *fault != Fault::Kill);
        }
        for fault in turn {
            let after = decisions.between(gap / 2, gap * 3 / 2);
            left = left.saturating_sub(gap + FAULT_DURATION);
            steps.push(Step { after, fault });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_meets_every_fault_once_and_a_long_one_again_and_again() {
        let kinds = Fault::SANDBOX;
        let short = schedule(&Decisions::new(1, 0), kinds, Duration::from_secs(30));
        let mut met: Vec<Fault> = short.iter().map(|step| step.fault).collect();
        assert_eq!(met.first(), Some(&Fault::Kill));
        met.sort_unstable();
        assert_eq!(met, kinds);
        let long = schedule(&Decisions::new(1, 0), kinds, Duration::from_mins(10));
        for kind in kinds {
            assert!(long.iter().filter(|step| step.fault == *kind).count() >= 5);
        }
    }

    #[test]
    fn the_seed_decides_the_order() {
        let of = |seed| {
            schedule(
                &Decisions::new(seed, 0),
                Fault::SANDBOX,
                Duration::from_mins(1),
            )
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }
}
