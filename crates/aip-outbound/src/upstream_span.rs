//! What operators see of a call on another server: a span with its host and how it ended, and its
//! share of the time of the request that it is made for. Never its path, query or headers.

use aip_base::{Body, HttpError, RequestNotes};
use http::{Method, Response};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

/// A call that is under way.
pub(crate) struct UpstreamSpan {
    began: Instant,
    span: Span,
}

impl UpstreamSpan {
    pub(crate) fn begin(method: &Method, host: &str) -> Self {
        Self {
            began: Instant::now(),
            span: tracing::info_span!(
                "upstream",
                method = method.as_str(),
                host,
                status = Empty,
                failure = Empty
            ),
        }
    }

    /// What is done for the call is done in it.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Ends with the head of the answer, or without one.
    pub(crate) fn end(self, outcome: &Result<Response<Body>, HttpError>) {
        RequestNotes::note_upstream(self.began.elapsed());
        match outcome {
            Ok(response) => self.span.record("status", response.status().as_u16()),
            Err(error) => self.span.record("failure", kind(error)),
        };
    }
}

fn kind(error: &HttpError) -> &'static str {
    match error {
        HttpError::Refused(_) => "refused",
        HttpError::NoHost | HttpError::Connect(_) => "connect",
        HttpError::Busy(_) => "busy",
        HttpError::Broken(_) => "broken",
        HttpError::Deadline(_) => "deadline",
        HttpError::TooLarge(_) => "too_large",
        HttpError::Compressed(_) => "compressed",
    }
}
