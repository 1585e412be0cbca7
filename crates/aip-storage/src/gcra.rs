//! The arithmetic of a rate limit, in whole microseconds (GCRA, ITU-T I.371 annex A).

use std::time::Duration;

use crate::rates::{Quota, Verdict};
use aip_base::Timestamp;

/// Decides on a call at `now` and returns the theoretical arrival time to keep, if it changes.
pub fn decide(
    kept: Option<Timestamp>,
    quota: Quota,
    now: Timestamp,
) -> (Verdict, Option<Timestamp>) {
    let due = kept.map_or(now, |kept| kept.max(now));
    let (ahead, tolerance) = (due.since(now), quota.tolerance());
    match ahead.saturating_sub(tolerance) {
        Duration::ZERO => (Verdict::Permitted, Some(due + quota.every)),
        retry_after => (Verdict::Refused { retry_after }, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, counted out: a bucket that holds `burst` calls and gains one per `every`.
    struct Bucket {
        /// Microseconds' worth of calls that are left.
        level: u128,
        at: Timestamp,
    }

    impl Bucket {
        fn take(&mut self, quota: Quota, now: Timestamp) -> bool {
            let every = quota.every.as_micros();
            let full = every * u128::from(quota.burst);
            self.level = full.min(self.level + now.since(self.at).as_micros());
            self.at = now;
            let permitted = self.level >= every;
            if permitted {
                self.level -= every;
            }
            permitted
        }
    }

    proptest! {
        #[test]
        fn it_decides_as_a_leaking_bucket_does(
            burst in 1_u32..6,
            every in 1_u64..5_000_000,
            steps in prop::collection::vec(0_u64..8_000_000, 1..200),
        ) {
            let quota = Quota { burst, every: Duration::from_micros(every) };
            let mut now = Timestamp::from_secs(1_767_225_600);
            let full = quota.every.as_micros() * u128::from(burst);
            let mut bucket = Bucket { level: full, at: now };
            let mut kept = None;
            for step in steps {
                now = now + Duration::from_micros(step);
                let (verdict, next) = decide(kept, quota, now);
                kept = next.or(kept);
                prop_assert_eq!(bucket.take(quota, now), verdict == Verdict::Permitted);
                if let Verdict::Refused { retry_after } = verdict {
                    prop_assert_eq!(decide(kept, quota, now + retry_after).0, Verdict::Permitted);
                    let early = now + retry_after - Duration::from_micros(1);
                    prop_assert_ne!(decide(kept, quota, early).0, Verdict::Permitted);
                }
            }
        }
    }
}
