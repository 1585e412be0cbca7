//! The metrics of requests. Their handles are kept: to find one by its name and labels takes longer than
//! to count.

use std::sync::OnceLock;
use std::time::Duration;

use aip_base::QueryStats;
use http::Method;
use metrics::{Counter, Gauge, Histogram};
use strum::IntoEnumIterator as _;

use crate::endpoint::Endpoint;

/// What `path` is in the log and in metrics where no endpoint is mounted.
const NO_PATH: &str = "-";
/// Methods by name, and what stands for those that callers make up.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
];
/// Classes of statuses.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The metrics of the requests to all endpoints.
pub(crate) struct RequestMetrics {
    in_flight: Gauge,
    /// In the order of the enum; the last is for paths that are not mounted.
    endpoints: Vec<OnceLock<Box<EndpointMetrics>>>,
}

/// Those of one endpoint, made for its first request.
struct EndpointMetrics {
    path: &'static str,
    seconds: Histogram,
    statements: Counter,
    /// By method and class of status.
    requests: [[OnceLock<Counter>; CLASSES.len()]; METHODS.len()],
}

/// Counts a request for as long as it is being answered, even when its caller goes away.
pub(crate) struct InFlight(Gauge);

/// The path of an endpoint as the log and metrics have it.
pub(crate) fn path(endpoint: Option<Endpoint>) -> &'static str {
    endpoint.map_or(NO_PATH, |endpoint| endpoint.spec().path)
}

/// The method, unless the caller made one up.
pub(crate) fn method_label(method: &Method) -> &'static str {
    METHODS[method_index(method.as_str())]
}

fn method_index(name: &str) -> usize {
    let known = METHODS.iter().position(|known| *known == name);
    known.unwrap_or(METHODS.len() - 1)
}

impl RequestMetrics {
    /// Nothing is counted yet. Whoever records metrics is there already, or these are recorded nowhere.
    pub(crate) fn new() -> Self {
        Self {
            in_flight: metrics::gauge!("aip_http_requests_in_flight"),
            endpoints: Endpoint::iter()
                .map(|_| OnceLock::new())
                .chain([OnceLock::new()])
                .collect(),
        }
    }

    /// A request begins.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.increment(1);
        InFlight(self.in_flight.clone())
    }

    /// A request was answered with `status`.
    pub(crate) fn answered(
        &self,
        endpoint: Option<Endpoint>,
        method: &'static str,
        status: u16,
        took: Duration,
        query_stats: QueryStats,
    ) {
        let place = endpoint.map_or(self.endpoints.len() - 1, |endpoint| endpoint as usize);
        let Some(known) = self.endpoints.get(place) else {
            return;
        };
        let known = known.get_or_init(|| Box::new(EndpointMetrics::new(path(endpoint))));
        known.seconds.record(took.as_secs_f64());
        known.statements.increment(query_stats.statements);
        known.count(method, status);
    }
}

impl EndpointMetrics {
    fn new(path: &'static str) -> Self {
        Self {
            path,
            seconds: metrics::histogram!("aip_http_request_seconds", "endpoint" => path),
            statements: metrics::counter!("aip_http_request_statements_total", "endpoint" => path),
            requests: Default::default(),
        }
    }

    fn count(&self, method: &'static str, status: u16) {
        let class = match status / 100 {
            2 => 0,
            3 => 1,
            4 => 2,
            _ => 3,
        };
        let counter = self.requests[method_index(method)][class].get_or_init(|| {
            metrics::counter!(
                "aip_http_requests_total",
                "endpoint" => self.path, "method" => method, "status" => CLASSES[class]
            )
        });
        counter.increment(1);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_the_caller_made_up_is_no_label() {
        for (method, label) in [("GET", "GET"), ("OPTIONS", "OPTIONS"), ("get", "other")] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(method_label(&method), label);
        }
        let made_up = Method::from_bytes(b"SECRET").unwrap();
        assert_eq!(method_label(&made_up), "other");
    }

    #[test]
    fn every_endpoint_has_a_place_of_its_own() {
        let metrics = RequestMetrics::new();
        let last = metrics.endpoints.len() - 1;
        let mut places: Vec<usize> = Endpoint::iter().map(|it| it as usize).collect();
        places.dedup();
        assert_eq!(places.len(), last);
        assert!(places.iter().all(|place| *place < last));
    }
}
