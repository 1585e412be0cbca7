//! What an operator sees of a running `aip`: its log, metrics, traces and error reports.
//!
//! Crates log and open spans with `tracing` and count with `metrics`; nothing else of them knows
//! this crate. It is set up once, by the program ([`init`]). No secret is filtered out of logs
//! here: secrets are types that do not print themselves, and headers and bodies are not logged
//! anywhere. What is exported is what is logged, counted and spanned, and no more.

mod export;
mod logs;
mod metric;
mod metrics;
mod otlp;
mod process;
mod sentry;
mod span_fields;
mod spans;
mod start;
mod statsd;
mod table;

pub use crate::logs::{LogConfig, LogError, LogFormat, LogHandle};
pub use crate::metric::{Kind, Metric, Unit, reference};
pub use crate::metrics::{Metrics, MetricsError};
pub use crate::otlp::{TracesConfig, TracesError};
pub use crate::sentry::{ErrorsConfig, ErrorsError};
pub use crate::start::{Config, Service, Telemetry, TelemetryError, init, log_panics};
pub use crate::statsd::StatsdConfig;
pub use crate::table::METRICS;
