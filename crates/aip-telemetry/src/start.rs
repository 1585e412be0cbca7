//! Everything set up together, and ended together.

use std::panic;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Rng, supervise};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::logs::{self, LogConfig, LogError, LogHandle};
use crate::metrics::{Metrics, MetricsError};
use crate::otlp::{self, TracesConfig, TracesError};
use crate::sentry::{self, ErrorsConfig, ErrorsError};
use crate::statsd::{MetricSums, StatsdConfig};

/// How long exporters may take to send what they have when the program ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// What is told, and to whom.
pub struct Config {
    /// The log, on standard error.
    pub log: LogConfig,
    /// The agent that metrics are sent to, if any.
    pub statsd: Option<StatsdConfig>,
    /// The collector that traces are sent to, if any.
    pub traces: Option<TracesConfig>,
    /// Where errors of ours are reported, if anywhere.
    pub errors: Option<ErrorsConfig>,
    /// Who tells it.
    pub service: Service,
}

/// Who tells it.
#[derive(Debug, Clone)]
pub struct Service {
    /// The version of the program.
    pub version: &'static str,
    /// The name of this process.
    pub instance: String,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of the log is wrong, or a log is set up already.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The recorder of metrics cannot be installed.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The URL or a header of the trace collector is wrong.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// Error reports.
    #[error(transparent)]
    Errors(#[from] ErrorsError),
}

/// What runs until the program ends.
#[must_use = "what is exported stops with it"]
pub struct Telemetry {
    log: LogHandle,
    metrics: Metrics,
    upkeep: JoinHandle<()>,
    exporters: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// Starts the log, the metrics and the exporters of the process. Works once, within a runtime.
pub fn init(
    config: Config,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> Result<Telemetry, TelemetryError> {
    let (stop, stopped) = watch::channel(false);
    let mut exporters = JoinSet::new();
    let service = config.service;
    let mut spans = None;
    if let Some(traces) = &config.traces {
        let (layer, task) = otlp::exporter(
            traces,
            &service,
            Arc::clone(clock),
            Arc::clone(rng),
            stopped.clone(),
        )?;
        spans = Some(layer);
        exporters.spawn(task);
    }
    let mut errors = None;
    if let Some(config) = &config.errors {
        let (layer, task) = sentry::exporter(
            config,
            &service,
            Arc::clone(clock),
            Arc::clone(rng),
            stopped.clone(),
        )?;
        errors = Some(layer);
        exporters.spawn(task);
    }
    let log = logs::init(&config.log, spans, errors)?;
    let sums = config.statsd.as_ref().map(|_| MetricSums::new());
    let metrics = Metrics::install(sums.clone())?;
    Metrics::introduce(&service, clock.now());
    if let (Some(sums), Some(statsd)) = (sums, config.statsd) {
        exporters.spawn(sums.send(statsd, stopped));
    }
    let kept = metrics.clone();
    let upkeep = tokio::spawn(async move {
        supervise("upkeep of metrics", || kept.clone().upkeep()).await;
    });
    Ok(Telemetry {
        log,
        metrics,
        upkeep,
        exporters,
        stop,
    })
}

impl Telemetry {
    /// The log, to be changed while it runs.
    pub fn log(&self) -> &LogHandle {
        &self.log
    }

    /// The metrics, to be rendered.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends what is still to be sent, and ends.
    pub async fn end(mut self) {
        self.upkeep.abort();
        // Without exporters nobody listens.
        let _ = self.stop.send(true);
        let all = async { while self.exporters.join_next().await.is_some() {} };
        if tokio::time::timeout(FLUSH_TIMEOUT, all).await.is_err() {
            tracing::warn!("telemetry flush timed out, dropping what is queued");
        }
    }
}

/// Logs and counts panics as errors of ours, with the place alone: the message of a panic may quote the data
/// that it stumbled on.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        metrics::counter!("aip_panics_total").increment(1);
        let place = panic.location().map(ToString::to_string);
        tracing::error!(target: "aip::panic", place, "panicked");
    }));
}
