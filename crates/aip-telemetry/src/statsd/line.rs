//! A line of StatsD as Telegraf reads it: `PREFIX.NAME,TAG=VALUE:NUMBER|TYPE`, several to a
//! datagram, separated by line feeds.
//!
//! The type says what the suffixes `_total` and `_seconds` say in Prometheus, so names come
//! without them: counters are `c`, gauges `g`, times `ms`, other samples `h`.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use metrics::Key;
use metrics_util::registry::{AtomicStorage, Registry};

/// What fits into one frame of an Ethernet, headers aside.
const MAX_DATAGRAM_BYTES: usize = 1400;

/// Samples of one series per interval. More are thinned out, and the rate says so.
const MAX_SAMPLES: usize = 100;

/// Lines, as many together as fit.
pub(super) type Datagrams = Vec<String>;

/// What was sent before, to send what is new.
pub(super) struct Series {
    prefix: String,
    sent: HashMap<Key, u64>,
}

impl Series {
    pub(super) fn new(prefix: &str) -> Self {
        let mut prefix = clean(prefix.trim_end_matches('.'));
        if !prefix.is_empty() {
            prefix.push('.');
        }
        Self {
            prefix,
            sent: HashMap::new(),
        }
    }

    /// What happened since the last time.
    pub(super) fn take(&mut self, registry: &Registry<Key, AtomicStorage>) -> Datagrams {
        let mut lines = Vec::new();
        registry.visit_counters(|key, counter| {
            let now = counter.load(Ordering::Relaxed);
            let before = self.sent.insert(key.clone(), now).unwrap_or(0);
            if now > before {
                let name = self.name(key, "_total");
                lines.push(format!("{name}:{}|c", now - before));
            }
        });
        registry.visit_gauges(|key, gauge| {
            let value = f64::from_bits(gauge.load(Ordering::Relaxed));
            let name = self.name(key, "");
            // A signed number is a change, so a negative level takes two lines.
            if value < 0.0 {
                lines.push(format!("{name}:0|g"));
            }
            lines.push(format!("{name}:{value}|g"));
        });
        registry.visit_histograms(|key, histogram| {
            let mut samples = Vec::new();
            histogram.clear_with(|block| samples.extend_from_slice(block));
            let (suffix, unit, scale) = if key.name().ends_with("_seconds") {
                ("_seconds", "ms", 1000.0)
            } else {
                ("", "h", 1.0)
            };
            let name = self.name(key, suffix);
            let step = samples.len().div_ceil(MAX_SAMPLES).max(1);
            let rate = match step {
                1 => String::new(),
                _ => format!(
                    "|@{:.6}",
                    1.0 / f64::from(u32::try_from(step).unwrap_or(u32::MAX))
                ),
            };
            for sample in samples.iter().step_by(step) {
                let value = (sample * scale * 1000.0).round() / 1000.0;
                lines.push(format!("{name}:{value}|{unit}{rate}"));
            }
        });
        datagrams(lines)
    }

    fn name(&self, key: &Key, suffix: &str) -> String {
        let name = key.name();
        let name = name.strip_suffix(suffix).unwrap_or(name);
        let mut line = format!("{}{}", self.prefix, clean(name));
        for label in key.labels() {
            line.push(',');
            line.push_str(&clean(label.key()));
            line.push('=');
            line.push_str(&clean(label.value()));
        }
        line
    }
}

/// Without the characters that mean something in a line.
fn clean(text: &str) -> String {
    let special = |c: char| matches!(c, ':' | '|' | '@' | ',' | '=') || c.is_whitespace();
    text.replace(special, "_")
}

fn datagrams(lines: Vec<String>) -> Datagrams {
    let mut datagrams: Datagrams = Vec::new();
    for line in lines {
        match datagrams.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= MAX_DATAGRAM_BYTES => {
                last.push('\n');
                last.push_str(&line);
            }
            _ => datagrams.push(line),
        }
    }
    datagrams
}

#[cfg(test)]
mod tests {
    use metrics::Recorder as _;

    use super::*;
    use crate::statsd::MetricSums;

    /// The lines of two intervals, with `record` in each.
    fn lines(prefix: &str, record: impl Fn()) -> [Vec<String>; 2] {
        let sums = MetricSums::new();
        let mut series = Series::new(prefix);
        [(); 2].map(|()| {
            metrics::with_local_recorder(&sums, &record);
            let datagrams = series.take(&sums.0);
            assert!(datagrams.iter().all(|it| it.len() <= MAX_DATAGRAM_BYTES));
            let mut lines: Vec<String> = datagrams
                .iter()
                .flat_map(|it| it.lines().map(str::to_owned))
                .collect();
            lines.sort();
            lines
        })
    }

    #[test]
    fn each_kind_has_its_line_and_counters_send_what_is_new() {
        let intervals = lines("auth.aip.", || {
            metrics::counter!("x_total", "endpoint" => "/xrpc/{nsid}", "status" => "2xx")
                .increment(3);
            metrics::gauge!("open").set(7.0);
            metrics::gauge!("lag").set(-2.5);
            metrics::histogram!("answer_seconds").record(0.0125);
            metrics::histogram!("statements").record(4.0);
        });
        for interval in intervals {
            assert_eq!(
                interval,
                [
                    "auth.aip.answer:12.5|ms",
                    "auth.aip.lag:-2.5|g",
                    "auth.aip.lag:0|g",
                    "auth.aip.open:7|g",
                    "auth.aip.statements:4|h",
                    "auth.aip.x,endpoint=/xrpc/{nsid},status=2xx:3|c",
                ]
            );
        }
    }

    #[test]
    fn an_idle_counter_and_an_idle_histogram_send_nothing() {
        let sums = MetricSums::new();
        let mut series = Series::new("");
        let metadata = metrics::Metadata::new("", metrics::Level::INFO, None);
        let counter = sums.register_counter(&Key::from_name("x_total"), &metadata);
        let _ = sums.register_histogram(&Key::from_name("y_seconds"), &metadata);
        assert!(series.take(&sums.0).is_empty());
        counter.increment(1);
        assert_eq!(series.take(&sums.0), ["x:1|c"]);
        assert!(series.take(&sums.0).is_empty());
    }

    #[test]
    fn many_samples_are_thinned_out_and_say_so() {
        let [first, _] = lines("", || {
            for _ in 0..1000 {
                metrics::histogram!("answer_seconds").record(0.001);
            }
        });
        assert_eq!(first, vec!["answer:1|ms|@0.100000"; 100]);
    }

    #[test]
    fn no_value_breaks_out_of_its_place() {
        let [first, _] = lines("a:b", || {
            metrics::counter!("x", "tag" => "1|c\nfake:9|c,more=1").increment(1);
        });
        assert_eq!(first, ["a_b.x,tag=1_c_fake_9_c_more_1:1|c"]);
    }
}
