//! The table of metrics. A test holds that it names what the rooms record, and no more.

use std::fmt::Write as _;

/// A metric.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels. The values of each are few and known beforehand.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
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

/// Every metric there is, by name.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "aip_connections_open",
        kind: Kind::Gauge,
        labels: &["listener"],
        help: "Connections that are open.",
    },
    Metric {
        name: "aip_connections_total",
        kind: Kind::Counter,
        labels: &["listener"],
        help: "Connections that were accepted.",
    },
    Metric {
        name: "aip_http_request_seconds",
        kind: Kind::Histogram,
        labels: &["endpoint"],
        help: "Time from the head of a request to the head of its answer.",
    },
    Metric {
        name: "aip_http_requests_total",
        kind: Kind::Counter,
        labels: &["endpoint", "status"],
        help: "Requests answered, by class of status.",
    },
    Metric {
        name: "aip_sql_statements_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Statements sent to the database.",
    },
    Metric {
        name: "aip_upstream_refreshes_total",
        kind: Kind::Counter,
        labels: &["outcome"],
        help: "Refreshes of upstream sessions, by outcome.",
    },
];

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

impl Metric {
    /// Tells the recorder the help text.
    pub(crate) fn describe(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.help),
            Kind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
    }
}

/// The reference page of all metrics, in Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics of `aip`\n\n\
         `/metrics` of the internal listener, in the text format of Prometheus. Written from the \
         table in `crates/aip-telemetry/src/table.rs` by its tests.\n\n\
         | metric | kind | labels | what it tells |\n| --- | --- | --- | --- |\n",
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
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help
        );
    }
    page
}
