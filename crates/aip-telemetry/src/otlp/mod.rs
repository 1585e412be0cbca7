//! Traces by OTLP over HTTP, as protobuf (OTLP specification 1.x, "OTLP/HTTP"), with the names of
//! OpenTelemetry's semantic conventions for HTTP spans.
//!
//! The OpenTelemetry SDK is not used: it reads the environment, the clock and randomness by
//! itself, and brings a client and a thread of its own.

mod wire;

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Http, Rng, Timestamp};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::Service;
use crate::export::{Batches, Collector, Stop, queue};
use crate::spans::{Span, SpanLayer, Value};

const EXPORTER: &str = "otlp";
/// Spans that wait; more are dropped.
const CAPACITY: usize = 4096;
/// Spans per request.
const BATCH: usize = 512;
/// How long a span waits for others.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// The layer that records, and what exports.
pub(crate) fn exporter(
    config: &TracesConfig,
    service: Service,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    stop: Stop,
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
    let collector = Collector {
        exporter: EXPORTER,
        http: Arc::clone(&config.http),
        url,
        headers,
        stop: stop.clone(),
        failing: false,
    };
    let (spans, batches) = queue(EXPORTER, CAPACITY, BATCH, PATIENCE, stop);
    let layer = SpanLayer::new(spans, config.sample_ratio, clock, rng);
    Ok((layer, run(batches, collector, service)))
}

async fn run(mut batches: Batches<Span>, mut collector: Collector, service: Service) {
    while let Some(spans) = batches.next().await {
        let count = spans.len();
        let body = request(&service, spans).encode_to_vec();
        collector.deliver(body.into(), count).await;
    }
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

fn request(service: &Service, spans: Vec<Span>) -> wire::ExportRequest {
    let resource = [
        ("service.name", "aip"),
        ("service.version", service.version),
        ("service.instance.id", &service.instance),
    ];
    let attributes = resource.map(|(key, value)| attribute(key, Value::Text(value.to_owned())));
    let scope = wire::Scope {
        name: "aip".to_owned(),
        version: service.version.to_owned(),
    };
    wire::ExportRequest {
        resource_spans: vec![wire::ResourceSpans {
            resource: Some(wire::Resource {
                attributes: attributes.into(),
            }),
            scope_spans: vec![wire::ScopeSpans {
                scope: Some(scope),
                spans: spans.into_iter().map(span).collect(),
            }],
        }],
    }
}

fn span(span: Span) -> wire::Span {
    let kind = match span.name {
        "request" => wire::Kind::Server,
        "upstream" => wire::Kind::Client,
        _ => wire::Kind::Internal,
    };
    let failed = span
        .fields
        .iter()
        .any(|(name, value)| match (*name, value) {
            ("failure", _) => true,
            ("status", Value::Int(status)) => *status >= 500,
            _ => false,
        });
    wire::Span {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(Vec::from).unwrap_or_default(),
        name: name(&span),
        kind: kind.into(),
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: span
            .fields
            .into_iter()
            .map(|(name, value)| attribute(&conventional(name), value))
            .collect(),
        status: failed.then(|| wire::Status {
            code: wire::StatusCode::Error.into(),
        }),
    }
}

/// Semantic conventions for HTTP, "Name": `METHOD ROUTE`, or `METHOD` where there is no route.
fn name(span: &Span) -> String {
    let field = |wanted| {
        span.fields.iter().find_map(|(name, value)| match value {
            Value::Text(text) if *name == wanted => Some(text.as_str()),
            _ => None,
        })
    };
    match (field("method"), field("path")) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        (Some(method), None) => method.to_owned(),
        _ => span.name.to_owned(),
    }
}

/// The name that OpenTelemetry's semantic conventions have for a field.
fn conventional(field: &str) -> String {
    match field {
        "method" => "http.request.method".to_owned(),
        "path" => "http.route".to_owned(),
        "status" => "http.response.status_code".to_owned(),
        "host" => "server.address".to_owned(),
        "error" | "failure" => "error.type".to_owned(),
        other => format!("aip.{other}"),
    }
}

fn attribute(key: &str, value: Value) -> wire::KeyValue {
    let value = match value {
        Value::Text(text) => wire::Value::Text(text),
        Value::Int(number) => wire::Value::Int(number),
        Value::Float(number) => wire::Value::Float(number),
        Value::Bool(truth) => wire::Value::Bool(truth),
    };
    wire::KeyValue {
        key: key.to_owned(),
        value: Some(wire::AnyValue { value: Some(value) }),
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros())
        .unwrap_or(0)
        .saturating_mul(1000)
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
