//! What operators see of a request: one line in the log, metrics, and a span that everything done
//! for the request belongs to. No query, no header, no raw path: nothing that a caller wrote,
//! except the ids of a trace. `docs/observability.md` describes the fields.

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Blame, RequestNotes};
use axum::extract::Request;
use axum::response::Response;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use crate::api_error::ErrorReport;
use crate::endpoint::Endpoint;
use crate::request_metrics::{self, InFlight, method_label};
use crate::state::AppState;
use crate::trace_context::TraceContext;

/// A request that is being answered.
pub(crate) struct RequestLine<'a> {
    app: &'a AppState,
    began: Instant,
    endpoint: Option<Endpoint>,
    method: &'static str,
    /// The template of the path; `-` for a path that is not mounted.
    path: &'static str,
    /// What the answer carries as `x-request-id`.
    pub(crate) id: String,
    trace: TraceContext,
    notes: Arc<RequestNotes>,
    span: Span,
    _in_flight: InFlight,
}

/// One line, whatever its level.
macro_rules! line {
    ($level:ident, $self:ident, $status:ident, $took:ident, $query_stats:ident, $report:ident) => {
        tracing::$level!(
            target: "aip::request",
            method = $self.method,
            path = $self.path,
            status = $status,
            ms = milliseconds($took),
            client = $self.notes.client(),
            account = $self.notes.account(),
            error = $report.and_then(|it| it.code),
            blame = $report.map(|it| it.blame.as_str()),
            detail = $report.map(|it| it.detail.as_str()),
            statements = $query_stats.statements,
            db_ms = milliseconds($query_stats.execute_time),
            db_wait_ms = milliseconds($query_stats.acquire_time),
            upstream_calls = $self.notes.upstream_calls(),
            upstream_ms = milliseconds($self.notes.upstream_time()),
            trace_id = $self.trace.trace_id,
            request_id = $self.id,
            "request"
        )
    };
}

impl<'a> RequestLine<'a> {
    /// Begins with the head of the request; `endpoint` is `None` for a path that is not mounted.
    pub(crate) fn begin(
        app: &'a AppState,
        id: String,
        endpoint: Option<Endpoint>,
        request: &Request,
    ) -> Self {
        let trace = TraceContext::of(request.headers(), &*app.server().rng);
        let method = method_label(request.method());
        let path = request_metrics::path(endpoint);
        let span = tracing::info_span!(
            "request",
            method,
            path,
            request_id = id,
            trace_id = trace.trace_id,
            parent_span_id = trace.parent,
            status = Empty,
            client = Empty,
            account = Empty,
            error = Empty,
        );
        Self {
            app,
            began: Instant::now(),
            endpoint,
            method,
            path,
            id,
            trace,
            notes: Arc::default(),
            span,
            _in_flight: app.metrics().begin(),
        }
    }

    /// What other crates note for it.
    pub(crate) fn notes(&self) -> Arc<RequestNotes> {
        Arc::clone(&self.notes)
    }

    /// What is done for the request is done in it.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Ends with the head of the answer.
    pub(crate) fn end(self, response: &Response) {
        let query_stats = self.notes.query_stats();
        let took = self.began.elapsed();
        let status = response.status().as_u16();
        let report = response.extensions().get::<ErrorReport>();
        self.app
            .metrics()
            .answered(self.endpoint, self.method, status, took, query_stats);
        self.close_span(status, report);
        match report.map(|it| it.blame) {
            // Probes come every few seconds, style sheets with every page; they say nothing while
            // all is well.
            None if matches!(
                self.endpoint,
                Some(Endpoint::Alive | Endpoint::Ready | Endpoint::Asset)
            ) =>
            {
                line!(debug, self, status, took, query_stats, report);
            }
            None | Some(Blame::Caller) => line!(info, self, status, took, query_stats, report),
            Some(Blame::Upstream) => line!(warn, self, status, took, query_stats, report),
            Some(Blame::Ours) => line!(error, self, status, took, query_stats, report),
        }
    }

    fn close_span(&self, status: u16, report: Option<&ErrorReport>) {
        self.span.record("status", status);
        if let Some(client) = self.notes.client() {
            self.span.record("client", client);
        }
        if let Some(account) = self.notes.account() {
            self.span.record("account", account);
        }
        if let Some(code) = report.and_then(|it| it.code) {
            self.span.record("error", code);
        }
    }
}

/// With microseconds, for people who look for the slow part of a fast answer.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
