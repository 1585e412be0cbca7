//! Traces by OTLP over HTTP, as protobuf (OTLP specification 1.x, "OTLP/HTTP"): spans are made by
//! `opentelemetry_sdk` and encoded by `opentelemetry-otlp`.
//!
//! Whatever these libraries read from the environment has no effect. Sampler, limits, ids and
//! resource are handed to the SDK, the endpoint to the exporter; the headers of a request and the
//! time that it may take are those of [`Collector`], which also tries again and is bounded. The
//! SDK's own batch processor is not used: it counts what it drops where nobody can read it
//! (0.33.1, looked at on 2026-11-29; `aip_exports_total` would lose `dropped`), and it has a thread
//! of its own or, for an async runtime, is experimental.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Http, Rng, supervise};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, Uri};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use crate::Service;
use crate::export::{Batches, Collector, StopSignal, count, queue};
use crate::spans::SpanLayer;

const EXPORTER: &str = "otlp";
/// Spans that wait; more are dropped.
const MAX_QUEUED_SPANS: usize = 4096;
/// Spans per request.
const MAX_BATCH_SPANS: usize = 512;
/// How long a span waits for others.
const MAX_BATCH_DELAY: Duration = Duration::from_secs(5);

/// Where traces go.
pub struct TracesConfig {
    /// The way there. The operator named the address, so it may be inside his network.
    pub http: Arc<dyn Http>,
    /// The URL that traces are posted to, such as `http://collector:4318/v1/traces`.
    pub endpoint: String,
    /// Headers of each request as `OTEL_EXPORTER_OTLP_HEADERS` has them: `NAME=VALUE,…` with
    /// percent-encoded values.
    pub headers: SecretString,
    /// The share of traces that is recorded, 0 to 1.
    pub sample_ratio: f64,
}

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The endpoint is no http(s) URL.
    #[error("the endpoint of traces is no http:// or https:// URL")]
    Endpoint,
    /// A header is not of the form `NAME=VALUE`.
    #[error("header number {0} of the exporter of traces is not NAME=VALUE")]
    Header(usize),
}

/// Sends what `opentelemetry-otlp` has encoded.
struct CollectorClient(Collector);

/// The layer that records, and what exports.
pub(crate) fn exporter(
    config: &TracesConfig,
    service: &Service,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    stop: StopSignal,
) -> Result<(SpanLayer, impl Future<Output = ()> + Send + use<>), TracesError> {
    let url: Uri = config.endpoint.parse().map_err(|_| TracesError::Endpoint)?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(TracesError::Endpoint);
    }
    let mut headers = headers(config.headers.expose_secret())?;
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    let collector = Collector::new(
        EXPORTER,
        Arc::clone(&config.http),
        url,
        headers,
        stop.clone(),
    );
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(CollectorClient(collector))
        .with_endpoint(&config.endpoint)
        .build()
        .map_err(|_| TracesError::Endpoint)?;
    exporter.set_resource(&resource(service));
    let (spans, batches) = queue(
        EXPORTER,
        MAX_QUEUED_SPANS,
        MAX_BATCH_SPANS,
        MAX_BATCH_DELAY,
        stop,
    );
    let layer = SpanLayer::new(spans, config.sample_ratio, service.version, clock, rng);
    Ok((layer, run(batches, exporter)))
}

async fn run(batches: Batches<SpanData>, exporter: SpanExporter) {
    let batches = Mutex::new(batches);
    supervise("export of traces", || async {
        let mut batches = batches.lock().await;
        while let Some(spans) = batches.next().await {
            let total = spans.len();
            let outcome = exporter.export(spans).await;
            count(
                EXPORTER,
                if outcome.is_ok() { "sent" } else { "failed" },
                total,
            );
        }
    })
    .await;
}

fn resource(service: &Service) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "aip"),
            KeyValue::new("service.version", service.version),
            KeyValue::new("service.instance.id", service.instance.clone()),
        ])
        .build()
}

fn headers(text: &str) -> Result<HeaderMap, TracesError> {
    let mut headers = HeaderMap::new();
    let pairs = text.split(',').map(str::trim).zip(1..);
    for (pair, number) in pairs.filter(|(pair, _)| !pair.is_empty()) {
        let header = || {
            let (name, value) = pair.split_once('=')?;
            let value = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<u8>>();
            let mut value = HeaderValue::from_bytes(&value).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        };
        let (name, value) = header().ok_or(TracesError::Header(number))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.0.deliver(request.into_body()).await?;
        Ok(Response::new(Bytes::new()))
    }
}

impl fmt::Debug for CollectorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorClient").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_specification_writes_them() {
        let read = headers("authorization=Bearer%20x%3Dy, x-team = blue ,").unwrap();
        assert_eq!(read["authorization"], "Bearer x=y");
        assert!(read["authorization"].is_sensitive());
        assert_eq!(read["x-team"], "blue");
        assert!(headers("").unwrap().is_empty());
    }

    #[test]
    fn a_malformed_header_is_named_by_its_number_and_not_repeated() {
        let error = headers("a=b,secret").unwrap_err().to_string();
        assert!(error.contains("number 2"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(headers("a b=c").is_err());
    }
}
