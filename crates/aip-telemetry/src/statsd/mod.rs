//! Metrics by StatsD over UDP, for Telegraf: the same metrics that Prometheus reads, every few
//! seconds, as sums of what happened since. Losing a datagram loses a sum, never a request.
//!
//! The form of a line is in `line`.
//!
//! Two exporters were looked at on 2026-11-29, and neither is used:
//! * `metrics-exporter-statsd` 0.9.0: in its source, `Gauge::increment` and `decrement` do nothing, so
//!   `aip_connections_open` and `aip_http_requests_in_flight` would be lost.
//! * `metrics-exporter-dogstatsd` 0.9.8, run with what this program records, writes the `DogStatsD` form
//!   and not that of StatsD: `aip_http_requests_total:1|c|#status:5xx`, several samples as
//!   `0.012:0.013|d`, a negative gauge as `-2.5|g`, which in StatsD is a change by that much.
//!
//! The tests of `line` and `every_collector_gets_its_part_and_no_secret` hold the form.

mod line;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aip_base::supervise;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::registry::{AtomicStorage, Registry};
use tokio::net::UdpSocket;
use tokio::sync::Mutex;

use self::line::{Datagrams, Series};
use crate::export::{StopSignal, count};
use crate::process;

/// How often sums are sent.
const SEND_INTERVAL: Duration = Duration::from_secs(5);

/// Where metrics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsdConfig {
    /// The host of the agent.
    pub host: String,
    /// Its UDP port.
    pub port: u16,
    /// What stands before the name of each metric, with a dot between; empty for nothing.
    pub prefix: String,
}

/// Sums up what is recorded until it is sent.
#[derive(Clone)]
pub(crate) struct MetricSums(Arc<Registry<Key, AtomicStorage>>);

impl MetricSums {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Registry::atomic()))
    }

    /// Sends the sums until it is stopped, and then once more.
    pub(crate) async fn send(self, config: StatsdConfig, stop: StopSignal) {
        let series = Mutex::new(Series::new(&config.prefix));
        let send = || self.send_until_stopped(&config, &series, stop.clone());
        supervise("export of metrics", send).await;
    }

    async fn send_until_stopped(
        &self,
        config: &StatsdConfig,
        series: &Mutex<Series>,
        mut stop: StopSignal,
    ) {
        let mut series = series.lock().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(SEND_INTERVAL) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            process::record();
            let datagrams = series.take(&self.0);
            match send(config, &datagrams).await {
                Ok(()) => count("statsd", "sent", datagrams.len()),
                Err(error) => {
                    // Once in a while at most: metrics are missed where they are looked at.
                    tracing::debug!(%error, host = config.host, "sending metrics failed");
                    count("statsd", "failed", datagrams.len());
                }
            }
            if *stop.borrow() {
                return;
            }
        }
    }
}

/// The name is looked up each time, so that an agent that moved is found again.
async fn send(config: &StatsdConfig, datagrams: &Datagrams) -> std::io::Result<()> {
    let mut addresses = tokio::net::lookup_host((config.host.as_str(), config.port)).await?;
    let address = addresses
        .next()
        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    for datagram in datagrams {
        socket.send_to(datagram.as_bytes(), address).await?;
    }
    Ok(())
}

impl Recorder for MetricSums {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0
            .get_or_create_counter(key, |it| Counter::from_arc(Arc::clone(it)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0
            .get_or_create_gauge(key, |it| Gauge::from_arc(Arc::clone(it)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0
            .get_or_create_histogram(key, |it| Histogram::from_arc(Arc::clone(it)))
    }
}
