//! How long servers take and what they answer, by class of server.

use aip_atproto::Origin;
use aip_base::{Clock, Timestamp};
use http::StatusCode;

use crate::origins::class;

/// A request whose answer is not there yet.
#[must_use = "a measurement is recorded at its end"]
pub(crate) struct RequestTimer<'a> {
    clock: &'a dyn Clock,
    origin: &'a Origin,
    at: Timestamp,
}

impl<'a> RequestTimer<'a> {
    /// Begins.
    pub(crate) fn begin(clock: &'a dyn Clock, origin: &'a Origin) -> Self {
        Self {
            clock,
            origin,
            at: clock.now(),
        }
    }

    /// Ends with the head of an answer.
    pub(crate) fn answered(self, status: StatusCode) {
        self.end(match status.as_u16() {
            200..=299 => "2xx",
            429 => "429",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other",
        });
    }

    /// Ends without an answer.
    pub(crate) fn failed(self) {
        self.end("none");
    }

    fn end(self, status: &'static str) {
        let origin = class(self.origin);
        let took = self.clock.now().since(self.at);
        metrics::histogram!("aip_upstream_request_seconds", "origin" => origin)
            .record(took.as_secs_f64());
        metrics::counter!("aip_upstream_requests_total", "origin" => origin, "status" => status)
            .increment(1);
    }
}
