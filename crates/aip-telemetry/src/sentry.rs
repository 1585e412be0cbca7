//! Error reports to Sentry: what is logged as `ERROR`, which is our own fault by definition, and
//! nothing else of the request (Sentry's "Envelopes" and "Event Payloads").
//!
//! Sentry's own client collects context by itself, which would have to be scrubbed again; this
//! sends the fields of the log line and no more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Http, Rng, Timestamp};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use url::Url;

use crate::Service;
use crate::export::{Batches, Collector, Queue, Stop, queue};

const EXPORTER: &str = "sentry";
/// Reports that wait; more are dropped.
const CAPACITY: usize = 64;
/// The shortest time between two reports: an outage makes thousands of equal errors, and a few
/// tell the story.
const SPACING: Duration = Duration::from_millis(500);

const AUTH: HeaderName = HeaderName::from_static("x-sentry-auth");

/// Where error reports go.
pub struct ErrorsConfig {
    /// The way there. The operator named the address, so it may be inside his network.
    pub http: Arc<dyn Http>,
    /// The DSN of the project: `https://KEY@HOST/PROJECT`.
    pub dsn: SecretString,
    /// The environment that reports are filed under.
    pub environment: String,
}

/// The DSN cannot be used. It is not repeated, as it holds a key.
#[derive(Debug, thiserror::Error)]
#[error("the Sentry DSN is not of the form https://KEY@HOST/PROJECT")]
pub struct ErrorsError;

/// An error, as it was logged.
pub(crate) struct Report {
    at: Timestamp,
    target: &'static str,
    fields: Map<String, Value>,
}

/// Picks the errors out of what is logged.
pub(crate) struct ErrorLayer {
    queue: Queue<Report>,
    clock: Arc<dyn Clock>,
}

/// A DSN, taken apart.
struct Dsn {
    url: Uri,
    key: String,
}

/// Sentry's "Event Payloads".
#[derive(Serialize)]
struct Payload<'a> {
    event_id: &'a str,
    timestamp: f64,
    platform: &'static str,
    level: &'static str,
    logger: &'static str,
    release: String,
    environment: &'a str,
    server_name: &'a str,
    logentry: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<Value>,
    extra: Map<String, Value>,
}

/// The layer that picks, and what exports.
pub(crate) fn exporter(
    config: &ErrorsConfig,
    service: Service,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    stop: Stop,
) -> Result<(ErrorLayer, impl Future<Output = ()> + Send + use<>), ErrorsError> {
    let dsn = Dsn::parse(config.dsn.expose_secret()).ok_or(ErrorsError)?;
    let auth = format!(
        "Sentry sentry_version=7, sentry_client=aip/{}, sentry_key={}",
        service.version, dsn.key
    );
    let mut auth = HeaderValue::from_str(&auth).map_err(|_| ErrorsError)?;
    auth.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTH, auth);
    let media_type = HeaderValue::from_static("application/x-sentry-envelope");
    headers.insert(CONTENT_TYPE, media_type);
    let collector = Collector {
        exporter: EXPORTER,
        http: Arc::clone(&config.http),
        url: dsn.url,
        headers,
        stop: stop.clone(),
        failing: false,
    };
    let (reports, batches) = queue(EXPORTER, CAPACITY, 1, SPACING, stop.clone());
    let environment = config.environment.clone();
    let task = run(batches, collector, service, environment, rng, stop);
    Ok((
        ErrorLayer {
            queue: reports,
            clock,
        },
        task,
    ))
}

async fn run(
    mut batches: Batches<Report>,
    mut collector: Collector,
    service: Service,
    environment: String,
    rng: Arc<dyn Rng>,
    mut stop: Stop,
) {
    while let Some(reports) = batches.next().await {
        for report in reports {
            let mut id = [0; 16];
            rng.fill(&mut id);
            let id = format!("{:032x}", u128::from_be_bytes(id));
            let envelope = report.envelope(&id, &service, &environment);
            collector.deliver(envelope.into(), 1).await;
        }
        tokio::select! {
            () = tokio::time::sleep(SPACING) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

impl Dsn {
    fn parse(dsn: &str) -> Option<Self> {
        let url = Url::parse(dsn).ok()?;
        let (path, project) = url.path().rsplit_once('/')?;
        let host = url.host_str()?;
        let known = matches!(url.scheme(), "http" | "https");
        if !known || url.username().is_empty() || project.is_empty() {
            return None;
        }
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let scheme = url.scheme();
        let envelope = format!("{scheme}://{host}{port}{path}/api/{project}/envelope/");
        Some(Self {
            url: envelope.parse().ok()?,
            key: url.username().to_owned(),
        })
    }
}

impl<S: Subscriber> Layer<S> for ErrorLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        self.queue.put(Report {
            at: self.clock.now(),
            target: event.metadata().target(),
            fields: fields.0,
        });
    }
}

impl Report {
    /// Three lines of JSON: the envelope, the item, the event.
    fn envelope(mut self, id: &str, service: &Service, environment: &str) -> String {
        // "request" says less than what went wrong with it.
        let message = self.fields.remove("message");
        let words = self.fields.get("detail").cloned().or(message);
        #[allow(
            clippy::cast_precision_loss,
            reason = "microseconds of this century fit into the mantissa"
        )]
        let timestamp = self.at.as_micros() as f64 / 1e6;
        let event = Payload {
            event_id: id,
            timestamp,
            platform: "native",
            level: "error",
            logger: self.target,
            release: format!("aip@{}", service.version),
            environment,
            server_name: &service.instance,
            logentry: json!({ "formatted": words }),
            transaction: self.fields.get("path").cloned(),
            extra: self.fields,
        };
        // Strings, numbers and maps of them: that is always JSON.
        let event = serde_json::to_string(&event).unwrap_or_default();
        let head = json!({ "event_id": id });
        let item = json!({ "type": "event", "length": event.len() });
        format!("{head}\n{item}\n{event}\n")
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_names_the_address_of_envelopes_and_the_key() {
        for (dsn, url) in [
            (
                "https://k@o1.ingest.sentry.io/42",
                "https://o1.ingest.sentry.io/api/42/envelope/",
            ),
            (
                "http://k@sentry.lan:9000/sub/folder/7",
                "http://sentry.lan:9000/sub/folder/api/7/envelope/",
            ),
        ] {
            let dsn = Dsn::parse(dsn).unwrap();
            assert_eq!(dsn.url, url);
            assert_eq!(dsn.key, "k");
        }
    }

    #[test]
    fn what_is_no_dsn_is_refused() {
        for dsn in [
            "",
            "sentry",
            "https://sentry.io/1",
            "https://k@sentry.io/",
            "file:///k",
            "ftp://k@sentry.io/1",
        ] {
            assert!(Dsn::parse(dsn).is_none(), "{dsn}");
        }
    }
}
