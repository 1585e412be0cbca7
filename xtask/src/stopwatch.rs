//! Wall time of chores and benchmarks: the one place of this program that looks at a real clock.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Measures from its creation.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(
        clippy::disallowed_methods,
        reason = "a benchmark measures real time; nothing here expires"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Asks again every `pause` until there is an answer or the deadline has passed.
pub(crate) fn poll<T>(
    what: &str,
    pause: Duration,
    deadline: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T> {
    let watch = Stopwatch::start();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if watch.elapsed() > deadline {
            bail!("{what}: not within {} s", deadline.as_secs());
        }
        rest(pause);
    }
}

/// Waits without asking anything, as between two samples of a measurement.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the poll with a deadline that the rule asks for"
)]
pub(crate) fn rest(pause: Duration) {
    std::thread::sleep(pause);
}
