//! From the configuration to what operators see.

use std::sync::Arc;

use aip_base::{Clock, Http, Rng, SystemClock, SystemRng};
use aip_config::LoadedConfig;
use aip_outbound::OperatorHttp;
use aip_telemetry::{Config, ErrorsConfig, Service, StatsdConfig, Telemetry, TracesConfig};
use anyhow::Context as _;

use crate::failure::Failure;
use crate::settings;

/// Starts the log, the metrics and the exporters of the process.
pub(crate) fn start(loaded: &LoadedConfig) -> Result<Telemetry, Failure> {
    let config = config(loaded)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    let started = aip_telemetry::init(config, &clock, &rng).map_err(Failure::usage)?;
    aip_telemetry::log_panics();
    Ok(started)
}

fn config(loaded: &LoadedConfig) -> anyhow::Result<Config> {
    let (server, told) = (&loaded.config.server, &loaded.config.telemetry);
    // Trusted certificates take memory: only who sends something loads them.
    let http = || -> anyhow::Result<Arc<dyn Http>> {
        let bundles = settings::certificate_bundles(&loaded.config.upstream)?;
        Ok(Arc::new(OperatorHttp::new(&bundles).context("telemetry")?))
    };
    let traces = told.otlp_traces_url.as_ref().map(|url| {
        #[allow(
            clippy::cast_precision_loss,
            reason = "a share needs no more precision"
        )]
        let sample_ratio = 1.0 / told.trace_one_in.get() as f64;
        Ok::<_, anyhow::Error>(TracesConfig {
            http: http()?,
            endpoint: url.clone(),
            headers: told.otlp_headers.clone().unwrap_or_default(),
            sample_ratio,
        })
    });
    let errors = told.sentry_dsn.as_ref().map(|dsn| {
        Ok::<_, anyhow::Error>(ErrorsConfig {
            http: http()?,
            dsn: dsn.clone(),
            environment: told.environment.clone(),
        })
    });
    Ok(Config {
        log: settings::log(&loaded.config.log),
        statsd: told.statsd_host.as_ref().map(|host| StatsdConfig {
            host: host.clone(),
            port: told.statsd_port,
            prefix: told.statsd_prefix.clone().unwrap_or_default(),
        }),
        traces: traces.transpose()?,
        errors: errors.transpose()?,
        service: Service {
            version: env!("CARGO_PKG_VERSION"),
            instance: server.worker_id.clone().unwrap_or_else(settings::worker_id),
        },
    })
}
