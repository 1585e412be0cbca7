//! The recorder behind the `metrics` macros: what is recorded once is read by Prometheus and, if
//! there is an agent for it, summed up for StatsD.

use std::time::Duration;

use aip_base::Timestamp;
use metrics::SetRecorderError;
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_util::layers::{Fanout, FanoutBuilder};

use crate::Service;
use crate::process;
use crate::statsd::MetricSums;
use crate::table::METRICS;

/// Bounds of histograms whose name ends in `_seconds`: from a look-up to a slow PDS.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// How often samples are folded into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The metrics of the process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// There is no recorder.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The buckets are not usable.
    #[error("metrics cannot be recorded: {0}")]
    Build(#[from] BuildError),
    /// Somebody else records in this process already.
    #[error("metrics are recorded already")]
    AlreadyInitialized,
}

impl Metrics {
    /// Makes this the recorder of the process. Works once.
    pub(crate) fn install(sums: Option<MetricSums>) -> Result<Self, MetricsError> {
        let prometheus = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .build_recorder();
        let handle = prometheus.handle();
        match sums {
            None => metrics::set_global_recorder(prometheus)?,
            Some(sums) => metrics::set_global_recorder(both(prometheus, sums))?,
        }
        for metric in METRICS {
            metric.describe();
        }
        Ok(Self(handle))
    }

    /// Records what never changes: which program this is, and since when.
    pub(crate) fn introduce(service: &Service, now: Timestamp) {
        metrics::gauge!("aip_build_info", "version" => service.version).set(1.0);
        #[allow(
            clippy::cast_precision_loss,
            reason = "seconds of this century fit into the mantissa"
        )]
        metrics::gauge!("aip_process_start_seconds").set(now.as_secs() as f64);
    }

    /// Everything recorded, in the text format of Prometheus.
    pub fn render(&self) -> String {
        process::record();
        self.0.render()
    }

    /// Keeps memory bounded while nobody reads the metrics; never returns.
    pub(crate) async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

fn both(prometheus: PrometheusRecorder, sums: MetricSums) -> Fanout {
    FanoutBuilder::default()
        .add_recorder(prometheus)
        .add_recorder(sums)
        .build()
}

impl<R> From<SetRecorderError<R>> for MetricsError {
    fn from(_: SetRecorderError<R>) -> Self {
        Self::AlreadyInitialized
    }
}
