//! The recorder behind the `metrics` macros, and its Prometheus text.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::table::METRICS;

/// Bounds of histograms whose name ends in `_seconds`: from a look-up to a slow PDS.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// How often samples are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics of the process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// There is no recorder.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct MetricsError(#[from] BuildError);

impl Metrics {
    /// Makes this the recorder of the process. Works once.
    pub fn install() -> Result<Self, MetricsError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .install_recorder()?;
        for metric in METRICS {
            metric.describe();
        }
        Ok(Self(handle))
    }

    /// Everything recorded, in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps memory bounded while nobody reads the metrics; never returns.
    pub async fn upkeep(&self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_with_its_help() {
        let metrics = Metrics::install().unwrap();
        metrics::counter!("aip_sql_statements_total").increment(2);
        metrics::histogram!("aip_http_request_seconds", "endpoint" => "token").record(0.03);
        let text = metrics.render();
        assert!(
            text.contains("# TYPE aip_sql_statements_total counter"),
            "{text}"
        );
        assert!(text.contains("# HELP aip_sql_statements_total"), "{text}");
        assert!(text.contains("aip_sql_statements_total 2"), "{text}");
        let bucket = r#"aip_http_request_seconds_bucket{endpoint="token",le="0.05"} 1"#;
        assert!(text.contains(bucket), "{text}");
        assert!(Metrics::install().is_err());
    }
}
