//! What the fields of a span of `tracing` are in OpenTelemetry: attributes with the names of its
//! semantic conventions for HTTP, the ids of the trace, the status.

use std::borrow::Cow;
use std::fmt;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, Key, KeyValue, Value};
use tracing::field::{Field, Visit};

/// The field of a first span that names its trace; that of a child is its parent's.
const TRACE_ID: &str = "trace_id";
/// The field of a first span that names the caller's span.
const PARENT: &str = "parent_span_id";
/// Attributes that the name of a span is made of.
const HTTP_METHOD: &str = "http.request.method";
const HTTP_ROUTE: &str = "http.route";

/// In the context in which the first span of a trace is made: the id of the trace.
pub(super) struct FirstTraceId(pub(super) TraceId);

/// What the fields of a span hold.
#[derive(Default)]
pub(super) struct Fields {
    trace: Option<TraceId>,
    parent: Option<SpanId>,
    pub(super) attributes: Vec<KeyValue>,
    /// Whether they say that the request failed.
    pub(super) has_failed: bool,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let value = value.into();
        match (field.name(), &value) {
            (TRACE_ID, Value::String(hex)) => {
                self.trace = TraceId::from_hex(hex.as_str()).ok();
                return;
            }
            (PARENT, Value::String(hex)) => {
                self.parent = SpanId::from_hex(hex.as_str()).ok();
                return;
            }
            ("failure", _) => self.has_failed = true,
            ("status", Value::I64(status)) => self.has_failed |= *status >= 500,
            _ => {}
        }
        let key = Key::from(conventional(field.name()));
        self.attributes.push(KeyValue::new(key, value));
    }

    /// The context of a first span: that of the caller's span, or the id of the trace alone, or
    /// nothing.
    pub(super) fn context_of_caller(&self) -> Context {
        let context = Context::new();
        match (self.trace, self.parent) {
            (Some(trace), Some(parent)) => context.with_remote_span_context(SpanContext::new(
                trace,
                parent,
                TraceFlags::SAMPLED,
                true,
                TraceState::NONE,
            )),
            (Some(trace), None) => context.with_value(FirstTraceId(trace)),
            (None, _) => context,
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// The kind of the span of that name.
pub(super) fn kind(span: &str) -> SpanKind {
    match span {
        "request" => SpanKind::Server,
        "upstream" => SpanKind::Client,
        _ => SpanKind::Internal,
    }
}

/// Semantic conventions for HTTP, "Name": `METHOD ROUTE`, or `METHOD` where there is no route.
pub(super) fn name(span: &'static str, attributes: &[KeyValue]) -> Cow<'static, str> {
    let text = |key| {
        let found = attributes.iter().find(|it| it.key.as_str() == key);
        found.map(|it| it.value.as_str())
    };
    match (text(HTTP_METHOD), text(HTTP_ROUTE)) {
        (Some(method), Some(route)) => format!("{method} {route}").into(),
        (Some(method), None) => method.into_owned().into(),
        (None, _) => span.into(),
    }
}

/// The name that OpenTelemetry's semantic conventions have for a field.
fn conventional(field: &str) -> Cow<'static, str> {
    match field {
        "method" => HTTP_METHOD.into(),
        "path" => HTTP_ROUTE.into(),
        "status" => "http.response.status_code".into(),
        "host" => "server.address".into(),
        "error" | "failure" => "error.type".into(),
        other => format!("aip.{other}").into(),
    }
}
