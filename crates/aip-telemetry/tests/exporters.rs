//! Every exporter against a collector on loopback: what arrives is what was recorded, in the form
//! that collectors read, and nothing secret.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code: what fails here fails the test"
)]

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Http};
use aip_outbound::OperatorHttp;
use aip_telemetry::{
    Config, ErrorsConfig, LogConfig, LogFormat, Service, StatsdConfig, TracesConfig,
};
use aip_testkit::clock::ManualClock;
use aip_testkit::collectors::{HttpCollector, Received, UdpCollector};
use aip_testkit::rng::SeededRng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use tracing::field::Empty;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// The target of the program's own spans.
const TARGET: &str = "aip_example";
/// What the collectors are told with each request, and nobody else.
const COLLECTOR_KEY: &str = "key-of-the-collector";
/// An account that a line names.
const ACCOUNT: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

/// The spans of a request.
fn request(clock: &ManualClock) {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        method = "GET",
        path = "/xrpc/{nsid}",
        trace_id = TRACE,
        parent_span_id = PARENT,
        status = Empty,
    );
    span.in_scope(|| {
        clock.advance(Duration::from_millis(5));
        let upstream = tracing::info_span!(target: TARGET, "upstream", method = "GET", host = "pds.example", failure = Empty);
        upstream.record("failure", "deadline");
        // A library's own span is nobody's business.
        let _library = tracing::info_span!(target: "hyper", "library", uri = "/?token=secret").entered();
        clock.advance(Duration::from_millis(7));
        drop(upstream);
    });
    span.record("status", 502);
    metrics::counter!("aip_http_requests_total", "endpoint" => "/xrpc/{nsid}", "method" => "GET", "status" => "5xx")
        .increment(1);
    metrics::histogram!("aip_http_request_seconds", "endpoint" => "/xrpc/{nsid}").record(0.012);
    tracing::warn!("not our fault");
    tracing::error!(target: "aip::request", path = "/xrpc/{nsid}", status = 500, detail = "a handler panicked", did = ACCOUNT, actor = ACCOUNT, "request");
}

fn spans(received: &Received) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(received.body.as_slice()).unwrap();
    let [resource] = request.resource_spans.try_into().expect("one resource");
    let attributes = resource.resource.unwrap().attributes;
    let service = attributes.iter().find(|it| it.key == "service.name");
    assert_eq!(text(service.unwrap().value.clone().unwrap().value), "aip");
    let [scope] = resource.scope_spans.try_into().expect("one scope");
    scope.spans
}

fn text(value: Option<Value>) -> String {
    match value.expect("a value") {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("neither text nor number: {other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|it| it.key == key);
    text(found.expect(key).value.clone().unwrap().value)
}

fn check_traces(received: &Received) {
    assert!(
        received.head.starts_with("POST /v1/traces HTTP/1.1"),
        "{}",
        received.head
    );
    assert!(
        received
            .head
            .contains("content-type: application/x-protobuf"),
        "{}",
        received.head
    );
    assert!(
        received.head.contains(&format!("x-key: {COLLECTOR_KEY}")),
        "{}",
        received.head
    );
    let spans = spans(received);
    let [upstream, request] = spans.as_slice() else {
        panic!("two spans, not {spans:#?}");
    };
    assert_eq!(request.name, "GET /xrpc/{nsid}");
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(attribute(request, "http.route"), "/xrpc/{nsid}");
    assert_eq!(attribute(request, "http.response.status_code"), "502");
    assert_eq!(request.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(
        request.end_time_unix_nano - request.start_time_unix_nano,
        12_000_000
    );
    assert_eq!(upstream.name, "GET");
    assert_eq!(upstream.kind(), SpanKind::Client);
    assert_eq!(upstream.trace_id, request.trace_id);
    assert_eq!(upstream.parent_span_id, request.span_id);
    assert_ne!(upstream.span_id, request.span_id);
    assert_eq!(attribute(upstream, "server.address"), "pds.example");
    assert_eq!(attribute(upstream, "error.type"), "deadline");
    assert_eq!(upstream.status.as_ref().unwrap().code(), StatusCode::Error);
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn check_report(received: &Received) {
    assert!(
        received.head.starts_with("POST /api/42/envelope/ HTTP/1.1"),
        "{}",
        received.head
    );
    let key = format!("sentry_key={COLLECTOR_KEY}");
    assert!(received.head.contains(&key), "{}", received.head);
    let body = String::from_utf8(received.body.clone()).unwrap();
    let lines: Vec<serde_json::Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [envelope, item, event] = lines.as_slice() else {
        panic!("three lines, not {body}");
    };
    // A UUID with hyphens and without.
    let id = envelope["event_id"].as_str().unwrap().replace('-', "");
    assert_eq!(event["event_id"], id);
    assert_eq!(event["event_id"].as_str().unwrap().len(), 32);
    assert_eq!(item["type"], "event");
    let length = body.lines().nth(2).unwrap().len();
    assert_eq!(item["length"], length);
    // "Event Payloads": without a level it is an error, so the library leaves that one out.
    assert!(event.get("level").is_none_or(|level| level == "error"));
    assert_eq!(event["release"], "aip@1.2.3");
    assert_eq!(event["server_name"], "replica-1");
    assert_eq!(event["environment"], "lab");
    assert_eq!(event["message"], "a handler panicked");
    assert_eq!(event["transaction"], "/xrpc/{nsid}");
    assert_eq!(event["extra"]["status"], 500);
    assert!(!body.contains(ACCOUNT), "{body}");
    let now = ManualClock::new().now().as_secs();
    assert!(
        event["timestamp"]
            .to_string()
            .starts_with(&format!("{now}."))
    );
}

/// One test, as there is one log and one recorder in a process.
#[tokio::test]
async fn every_collector_gets_its_part_and_no_secret() {
    // The first batch of traces is refused once, and comes again.
    let traces = HttpCollector::start(&["503 Service Unavailable\r\nretry-after: 0"]).await;
    let errors = HttpCollector::start(&[]).await;
    let statsd = UdpCollector::start().await;
    let http: Arc<dyn Http> = Arc::new(OperatorHttp::new(&[]).unwrap());
    let clock = Arc::new(ManualClock::new());
    let telemetry = aip_telemetry::init(
        Config {
            log: LogConfig {
                format: LogFormat::Json,
                filter: "info".to_owned(),
                colours: false,
            },
            statsd: Some(StatsdConfig {
                host: "127.0.0.1".to_owned(),
                port: statsd.port,
                prefix: "lab".to_owned(),
            }),
            traces: Some(TracesConfig {
                http: Arc::clone(&http),
                endpoint: format!("{}/v1/traces", traces.origin),
                headers: format!("x-key={COLLECTOR_KEY}").into(),
                sample_ratio: 1.0,
            }),
            errors: Some(ErrorsConfig {
                http,
                dsn: format!("{}/42", errors.origin)
                    .replace("://", &format!("://{COLLECTOR_KEY}@"))
                    .into(),
                environment: "lab".to_owned(),
            }),
            service: Service {
                version: "1.2.3",
                instance: "replica-1".to_owned(),
            },
        },
        &(Arc::clone(&clock) as Arc<dyn Clock>),
        &(Arc::new(SeededRng::new(7)) as _),
    )
    .unwrap();

    request(&clock);
    let sent = traces.after(2).await;
    assert_eq!(sent[0].body, sent[1].body, "the refused batch came again");
    check_traces(&sent[1]);
    check_report(&errors.after(1).await[0]);
    statsd
        .line("lab.aip_http_requests,endpoint=/xrpc/{nsid},method=GET,status=5xx:1|c")
        .await;
    statsd
        .line("lab.aip_http_request,endpoint=/xrpc/{nsid}:12|ms")
        .await;
    statsd.line("lab.aip_build_info,version=1.2.3:1|g").await;

    let page = telemetry.metrics().render();
    for line in [
        "# TYPE aip_http_requests_total counter",
        "# HELP aip_http_requests_total ",
        r#"aip_http_requests_total{endpoint="/xrpc/{nsid}",method="GET",status="5xx"} 1"#,
        r#"aip_http_request_seconds_bucket{endpoint="/xrpc/{nsid}",le="0.025"} 1"#,
        r#"aip_exports_total{exporter="sentry",outcome="sent"} 1"#,
        "aip_process_resident_bytes ",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }

    // What is still queued when the program ends is sent.
    request(&clock);
    telemetry.end().await;
    assert_eq!(spans(traces.received().last().unwrap()).len(), 2);
    assert_eq!(errors.received().len(), 2);
    statsd
        .line("lab.aip_http_requests,endpoint=/xrpc/{nsid},method=GET,status=5xx:1|c")
        .await;

    let bodies = [traces.received(), errors.received()].concat();
    let mut told: Vec<String> = bodies
        .iter()
        .map(|it| String::from_utf8_lossy(&it.body).into_owned())
        .collect();
    told.extend([statsd.text(), page]);
    for text in told {
        assert!(
            !text.contains(COLLECTOR_KEY) && !text.contains("secret"),
            "{text}"
        );
    }
}
