//! Exponential back-off with jitter, as a pure function of the attempt number.

use std::time::Duration;

use crate::Rng;

/// Exponential back-off: `min(cap, base · 2ⁿ)`, of which the upper half is random.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The delay before the first retry, jitter aside.
    pub base: Duration,
    /// No delay is longer than this.
    pub cap: Duration,
}

impl Backoff {
    /// The delay before retry number `attempt` (0 is the first), between half of the nominal
    /// delay and all of it, so that many waiters spread out.
    pub fn delay(self, attempt: u32, rng: &dyn Rng) -> Duration {
        let nominal = self
            .base
            .saturating_mul(2_u32.saturating_pow(attempt.min(30)))
            .min(self.cap);
        let mut byte = [0; 2];
        rng.fill(&mut byte);
        let jitter = f64::from(u16::from_be_bytes(byte)) / f64::from(u16::MAX);
        nominal / 2 + (nominal / 2).mul_f64(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRng;

    #[test]
    fn delays_grow_and_stay_below_the_cap() {
        let backoff = Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_mins(1),
        };
        for attempt in 0..100 {
            let delay = backoff.delay(attempt, &SystemRng);
            let nominal = Duration::from_secs(1 << attempt.min(10)).min(backoff.cap);
            assert!(
                delay >= nominal / 2 && delay <= nominal,
                "{attempt}: {delay:?}"
            );
        }
    }
}
