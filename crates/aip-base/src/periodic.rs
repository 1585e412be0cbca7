//! What is done from time to time, in passing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::Timestamp;

/// Says to one caller per interval that it is time.
#[derive(Debug)]
pub struct Periodic {
    interval: Duration,
    /// In microseconds since the epoch.
    last: AtomicI64,
}

impl Periodic {
    /// It is time at the first look.
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: AtomicI64::new(i64::MIN),
        }
    }

    /// Whether it is time at `now`; then it is not for the interval that begins. Also when the
    /// clock was set back.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let then = Timestamp::from_micros(last);
        if then <= now && now.since(then) < self.interval {
            return false;
        }
        let now = now.as_micros();
        let (set, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        self.last.compare_exchange(last, now, set, failed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_once_per_interval() {
        let periodic = Periodic::new(Duration::from_secs(10));
        let at = |secs: i64| Timestamp::from_secs(1_800_000_000 + secs);
        let due = [0, 1, 9, 10, 19, 25, 3].map(|secs| periodic.is_due(at(secs)));
        assert_eq!(due, [true, false, false, true, false, true, true]);
    }
}
