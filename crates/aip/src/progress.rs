//! How far a command is that takes long, on standard error: on a terminal one line that is written
//! over, otherwise a line now and then, in the form of the log.

use std::time::Duration;

use aip_base::{Clock as _, SystemClock};
use aip_config::{LoadedConfig, LogFormat};
use serde_json::json;
use tokio::time::Instant;

use crate::output;

/// How often the line of a terminal is written.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
/// How often a line is added elsewhere.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A copy that took less is told of by its result alone.
const MIN_COPY_TIME: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Values,
    Bytes,
    Sessions,
}

/// The progress of one piece of work.
pub(crate) struct Progress {
    work: &'static str,
    unit: Unit,
    total: u64,
    format: LineFormat,
    began: Instant,
    last_printed: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFormat {
    Terminal,
    Lines,
    Json,
}

/// How far it is, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Snapshot {
    done: u64,
    total: u64,
    per_second: u64,
    /// `None` before there is a rate.
    seconds_left: Option<u64>,
}

impl Progress {
    /// Begins to count to `total`, which may be an estimate.
    pub(crate) fn begin(work: &'static str, unit: Unit, total: u64, loaded: &LoadedConfig) -> Self {
        let format = match loaded.config.log.format {
            LogFormat::Json => LineFormat::Json,
            LogFormat::Pretty if output::stderr_is_a_terminal() => LineFormat::Terminal,
            LogFormat::Pretty => LineFormat::Lines,
        };
        let began = Instant::now();
        Self {
            work,
            unit,
            total,
            format,
            began,
            last_printed: began,
        }
    }

    /// Tells that so much is done, unless something was told a moment ago.
    pub(crate) fn update(&mut self, done: u64) {
        let interval = match self.format {
            LineFormat::Terminal => TERMINAL_INTERVAL,
            LineFormat::Lines | LineFormat::Json => LOG_INTERVAL,
        };
        if self.last_printed.elapsed() >= interval {
            self.last_printed = Instant::now();
            self.print(done);
        }
    }

    /// Tells how much was done in all, unless it was nothing, or a copy that took no time.
    pub(crate) fn end(self, done: u64) {
        let at_once = self.unit == Unit::Bytes && self.began.elapsed() < MIN_COPY_TIME;
        if self.total == 0 || at_once {
            return;
        }
        self.print(done);
        if self.format == LineFormat::Terminal {
            output::print_status("");
        }
    }

    fn print(&self, done: u64) {
        let position = Snapshot::after(self.began.elapsed(), done, self.total);
        let words = position.to_text(self.work, self.unit);
        match self.format {
            LineFormat::Terminal => output::rewrite_status(&words),
            LineFormat::Lines => output::print_status(&words),
            LineFormat::Json => {
                let line = json!({
                    "timestamp": output::instant(SystemClock.now()),
                    "level": "INFO",
                    "message": "progress",
                    "target": "aip",
                    "work": self.work,
                    "done": position.done,
                    "total": position.total,
                    "per_second": position.per_second,
                    "seconds_left": position.seconds_left,
                });
                output::print_status(&line.to_string());
            }
        }
    }
}

impl Snapshot {
    fn after(elapsed: Duration, done: u64, total: u64) -> Self {
        // What is added meanwhile is done, too.
        let total = total.max(done);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let per_second = done.saturating_mul(1000) / millis.max(1);
        Self {
            done,
            total,
            per_second,
            seconds_left: (total - done).checked_div(per_second),
        }
    }

    fn to_text(self, work: &str, unit: Unit) -> String {
        const MIB: u64 = 1024 * 1024;
        let (divisor, name) = match unit {
            Unit::Values => (1, "values"),
            Unit::Bytes => (MIB, "MiB"),
            Unit::Sessions => (1, "sessions"),
        };
        let Self {
            done,
            total,
            per_second,
            ..
        } = self;
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let left = match self.seconds_left {
            Some(seconds) if done < total => {
                let left = output::human_duration(Duration::from_secs(seconds));
                format!(", {left} left")
            }
            _ => String::new(),
        };
        format!(
            "{work}: {} of {} {name} ({percent} %), {} a second{left}",
            done / divisor,
            total / divisor,
            per_second / divisor
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_remaining_time_follow_from_what_is_done() {
        let position = Snapshot::after(Duration::from_secs(20), 100_000, 400_000);
        assert_eq!(
            position.to_text("sealing again", Unit::Values),
            "sealing again: 100000 of 400000 values (25 %), 5000 a second, 1 min left"
        );
        let done = Snapshot::after(Duration::from_secs(80), 400_000, 400_000);
        assert_eq!(
            done.to_text("sealing again", Unit::Values),
            "sealing again: 400000 of 400000 values (100 %), 5000 a second"
        );
        let copied = Snapshot::after(Duration::from_secs(2), 3 << 20, 12 << 20);
        assert_eq!(
            copied.to_text("copy", Unit::Bytes),
            "copy: 3 of 12 MiB (25 %), 1 a second, 6 s left"
        );
    }

    #[test]
    fn at_the_beginning_and_beyond_the_estimate_nothing_is_wrong() {
        let begun = Snapshot::after(Duration::ZERO, 0, 10);
        assert_eq!(begun.seconds_left, None);
        assert_eq!(
            begun.to_text("copy", Unit::Values),
            "copy: 0 of 10 values (0 %), 0 a second"
        );
        let beyond = Snapshot::after(Duration::from_secs(1), 12, 10);
        assert_eq!((beyond.total, beyond.seconds_left), (12, Some(0)));
        let nothing = Snapshot::after(Duration::from_secs(1), 0, 0);
        assert_eq!(
            nothing.to_text("copy", Unit::Values),
            "copy: 0 of 0 values (100 %), 0 a second"
        );
    }
}
