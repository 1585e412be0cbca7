//! What a metric is, and the reference page of them all.

use std::fmt::Write as _;

use crate::table::METRICS;

/// A row of the table of metrics.
pub struct Metric {
    /// With its unit, or `_total`, at the end (<https://prometheus.io/docs/practices/naming/>).
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What one of it is.
    pub unit: Unit,
    /// Its labels. The values of each are few and known beforehand.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
    /// When somebody should look; empty where it only explains another one.
    pub alert: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples in buckets.
    Histogram,
}

/// What one of a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A thing, or something that happened.
    Count,
    /// Seconds, also of durations below one.
    Seconds,
    /// A byte.
    Bytes,
}

impl Kind {
    /// `counter`, `gauge` or `histogram`, as Prometheus has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Unit {
    /// As the reference page has it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

impl Metric {
    /// Tells the recorder the help text, and that a counter without labels is 0.
    pub(crate) fn describe(&self) {
        match self.kind {
            Kind::Counter => {
                metrics::describe_counter!(self.name, self.help);
                // From 0 on: `increase` of Prometheus does not count the first value of a series.
                if self.labels.is_empty() {
                    metrics::counter!(self.name).increment(0);
                }
            }
            Kind::Gauge => metrics::describe_gauge!(self.name, self.help),
            Kind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
    }
}

/// The reference page of all metrics, in Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics of `aip`\n\n\
         `/metrics` of the internal listener, in the text format of Prometheus, and the same by \
         StatsD; [observability](../observability.md) says how, and has alert rules and a \
         dashboard. Written from the table in `crates/aip-telemetry/src/table.rs` by its tests.\n\n\
         | metric | kind | unit | labels | what it tells | alert on |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            metric.unit.as_str(),
            labels.join(", "),
            metric.help,
            metric.alert,
        );
    }
    page
}
