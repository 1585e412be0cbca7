//! Logs and metrics: what an operator sees of a running `aip`.
//!
//! Rooms log with `tracing` and count with `metrics`; nothing else of them knows this crate. It
//! is set up once, by the program. No secret is filtered out of logs here: secrets are types that
//! do not print themselves, and headers and bodies are not logged anywhere.

mod logs;
mod metrics;
mod table;

pub use crate::logs::{LogConfig, LogError, LogFormat, init_logs};
pub use crate::metrics::{Metrics, MetricsError};
pub use crate::table::{Kind, METRICS, Metric, reference};
