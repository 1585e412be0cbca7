//! Error reports to Sentry: what is logged as `ERROR`, which is our own fault by definition, and
//! nothing else of the request (Sentry's "Envelopes" and "Event Payloads").
//!
//! The client is that of the crate `sentry`, without its integrations, its hub and its transports: a
//! report holds the fields of the log line and no more. Its `init`, which reads the environment and
//! hooks panics, is not called.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aip_base::{Clock, Http, Rng, supervise};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use secrecy::{ExposeSecret as _, SecretString};
use sentry::protocol::Event as Report;
use sentry::types::{Dsn, Uuid};
use sentry::{Client, ClientOptions, Envelope, Transport};
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::Service;
use crate::export::{Batches, Collector, Queue, StopSignal, count, queue};

const EXPORTER: &str = "sentry";
/// Reports that wait; more are dropped.
const MAX_QUEUED_REPORTS: usize = 64;
/// The shortest time between two reports: an outage makes thousands of equal errors, and a few
/// tell the story.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

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

/// Picks the errors out of what is logged.
pub(crate) struct ErrorLayer {
    client: Client,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

/// The transport of the client.
struct QueueTransport(Queue<Envelope>);

/// The layer that picks, and what exports.
pub(crate) fn exporter(
    config: &ErrorsConfig,
    service: &Service,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    stop: StopSignal,
) -> Result<(ErrorLayer, impl Future<Output = ()> + Send + use<>), ErrorsError> {
    let dsn = parse(config.dsn.expose_secret())?;
    let agent = format!("aip/{}", service.version);
    let auth = dsn.to_auth(Some(&agent)).to_string();
    let mut auth = HeaderValue::from_str(&auth).map_err(|_| ErrorsError)?;
    auth.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTH, auth);
    let media_type = HeaderValue::from_static("application/x-sentry-envelope");
    headers.insert(CONTENT_TYPE, media_type);
    let collector = Collector::new(
        EXPORTER,
        Arc::clone(&config.http),
        envelope_url(&dsn)?,
        headers,
        stop.clone(),
    );
    let (envelopes, batches) = queue(EXPORTER, MAX_QUEUED_REPORTS, 1, MIN_INTERVAL, stop.clone());
    let mut options = ClientOptions::new()
        .transport(Arc::new(QueueTransport(envelopes)))
        .release(format!("aip@{}", service.version))
        .environment(config.environment.clone())
        .server_name(service.instance.clone());
    options.dsn = Some(dsn);
    let client = Client::with_options(options);
    let layer = ErrorLayer { client, clock, rng };
    Ok((layer, run(batches, collector, stop)))
}

async fn run(batches: Batches<Envelope>, collector: Collector, stop: StopSignal) {
    let batches = Mutex::new(batches);
    let report = || report(&batches, &collector, stop.clone());
    supervise("export of error reports", report).await;
}

async fn report(batches: &Mutex<Batches<Envelope>>, collector: &Collector, mut stop: StopSignal) {
    let mut batches = batches.lock().await;
    while let Some(envelopes) = batches.next().await {
        for envelope in envelopes {
            let mut body = Vec::new();
            // Writing to memory does not fail.
            let written = envelope.to_writer(&mut body).is_ok();
            let sent = written && collector.deliver(body.into()).await.is_ok();
            count(EXPORTER, if sent { "sent" } else { "failed" }, 1);
        }
        tokio::select! {
            () = tokio::time::sleep(MIN_INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

fn parse(dsn: &str) -> Result<Dsn, ErrorsError> {
    dsn.parse().map_err(|_| ErrorsError)
}

fn envelope_url(dsn: &Dsn) -> Result<Uri, ErrorsError> {
    let url = dsn.envelope_api_url();
    url.as_str().parse().map_err(|_| ErrorsError)
}

impl Transport for QueueTransport {
    fn send_envelope(&self, envelope: Envelope) {
        self.0.put(envelope);
    }
}

impl<S: Subscriber> Layer<S> for ErrorLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        let report = self.report(event.metadata().target(), fields.0);
        self.client.capture_event(report, None);
    }
}

impl ErrorLayer {
    fn report(&self, target: &str, mut fields: BTreeMap<String, Value>) -> Report<'static> {
        let mut id = [0; 16];
        self.rng.fill(&mut id);
        let micros = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
        // Accounts are for the operator's log alone.
        for account in ["did", "actor"] {
            fields.remove(account);
        }
        // "request" says less than what went wrong with it.
        let message = fields.remove("message");
        let message = fields.get("detail").cloned().or(message);
        let transaction = fields.get("path").cloned();
        Report {
            event_id: Uuid::from_bytes(id),
            timestamp: SystemTime::UNIX_EPOCH + Duration::from_micros(micros),
            level: sentry::Level::Error,
            logger: Some(target.to_owned()),
            message: message.map(text),
            transaction: transaction.map(text),
            extra: fields,
            ..Report::default()
        }
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The fields of a log line.
struct Fields(BTreeMap<String, Value>);

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
            let dsn = parse(dsn).unwrap();
            assert_eq!(envelope_url(&dsn).unwrap(), url);
            assert_eq!(dsn.public_key(), "k");
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
            assert!(parse(dsn).is_err(), "{dsn}");
        }
    }
}
