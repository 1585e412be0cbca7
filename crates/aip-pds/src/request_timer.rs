//! How long servers take and what they answer, by class of server.

use std::sync::OnceLock;

use aip_atproto::Origin;
use aip_base::{Clock, Timestamp};
use http::StatusCode;
use metrics::{Counter, Histogram};

use crate::origins::server_class;

/// What the answers of servers are counted by.
const ANSWERS: [&str; 6] = ["2xx", "4xx", "429", "5xx", "other", "none"];

/// The metrics of requests, by class of server. Their handles are kept, as every call counts.
#[derive(Default)]
pub(crate) struct RequestMetrics {
    /// Those of the servers of bsky.network, and those of all others.
    classes: [ClassMetrics; 2],
}

#[derive(Default)]
struct ClassMetrics {
    seconds: OnceLock<Histogram>,
    answers: [OnceLock<Counter>; ANSWERS.len()],
}

/// A request whose answer is not there yet.
#[must_use = "a measurement is recorded at its end"]
pub(crate) struct RequestTimer<'a> {
    metrics: &'a RequestMetrics,
    clock: &'a dyn Clock,
    origin: &'a Origin,
    at: Timestamp,
}

impl RequestMetrics {
    fn record(&self, origin: &Origin, answer: usize, seconds: f64) {
        let origin = server_class(origin);
        let of_class = &self.classes[usize::from(origin == "other")];
        let histogram = || metrics::histogram!("aip_upstream_request_seconds", "origin" => origin);
        of_class.seconds.get_or_init(histogram).record(seconds);
        let counter = || metrics::counter!("aip_upstream_requests_total", "origin" => origin, "status" => ANSWERS[answer]);
        of_class.answers[answer].get_or_init(counter).increment(1);
    }
}

impl<'a> RequestTimer<'a> {
    pub(crate) fn begin(
        metrics: &'a RequestMetrics,
        clock: &'a dyn Clock,
        origin: &'a Origin,
    ) -> Self {
        Self {
            metrics,
            clock,
            origin,
            at: clock.now(),
        }
    }

    /// Ends with the head of an answer.
    pub(crate) fn answered(self, status: StatusCode) {
        self.end(match status.as_u16() {
            200..=299 => 0,
            429 => 2,
            400..=499 => 1,
            500..=599 => 3,
            _ => 4,
        });
    }

    /// Ends without an answer.
    pub(crate) fn failed(self) {
        self.end(5);
    }

    /// Ends with one of [`ANSWERS`].
    fn end(self, answer: usize) {
        let took = self.clock.now().since(self.at);
        self.metrics.record(self.origin, answer, took.as_secs_f64());
    }
}
