//! Faults on order: what goes wrong the next time, the next few times, or always.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::lock;
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::json;
use tokio::sync::watch;

use super::reply::Reply;

/// What a stand-in is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// A DID document at the PLC directory.
    DidDocument,
    /// `/.well-known/oauth-protected-resource` (RFC 9728).
    ResourceMetadata,
    /// `/.well-known/oauth-authorization-server` (RFC 8414).
    ServerMetadata,
    /// The pushed authorization request endpoint (RFC 9126).
    Par,
    /// The pages of the authorization endpoint.
    Authorize,
    /// The token endpoint, for codes and refresh tokens alike.
    Token,
    /// The revocation endpoint (RFC 7009).
    Revoke,
    /// `/.well-known/atproto-did`.
    HandleDid,
    /// Any XRPC method.
    Xrpc,
    /// The XRPC method of this name.
    Method(&'static str),
    /// Anything else.
    Other,
}

/// What goes wrong: see the methods of [`Order`].
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Answer(Reply),
    Rewrite(Rewrite),
    DemandNonce,
    Disturb(When, Disturbance),
}

/// What another answer is made of an honest one with.
#[derive(Clone)]
pub(crate) struct Rewrite(Arc<dyn Fn(Reply) -> Reply + Send + Sync>);

impl Rewrite {
    pub(crate) fn apply(&self, reply: Reply) -> Reply {
        (self.0)(reply)
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rewrite")
    }
}

/// Whether a disturbance strikes before the request took effect or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The request arrived and did nothing.
    Before,
    /// The request took effect; its answer is what suffers.
    After,
}

/// What happens to the connection.
#[derive(Debug, Clone)]
pub(crate) enum Disturbance {
    Drop,
    Hang,
    Delay(Duration),
    Hold(Arc<GateState>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Times(u32),
    Always,
}

#[derive(Debug)]
struct PlannedFault {
    endpoint: Endpoint,
    count: Count,
    fault: Fault,
}

/// The orders that are open, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    ordered: Mutex<Vec<PlannedFault>>,
}

/// An order for a fault, to be finished with one of its methods.
#[must_use = "an order does nothing until it says what goes wrong"]
pub struct Order<'a> {
    faults: &'a Faults,
    endpoint: Endpoint,
    count: Count,
}

/// Holds requests back until the test lets them go on.
#[derive(Debug, Clone)]
pub struct Gate(Arc<GateState>);

#[derive(Debug)]
pub(crate) struct GateState {
    arrived: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Endpoint {
    /// Whether an order for `self` concerns a request to `actual`.
    pub(crate) fn includes(self, actual: Self) -> bool {
        self == actual || (self == Self::Xrpc && matches!(actual, Self::Method(_)))
    }
}

impl Faults {
    /// An order for the next request to `endpoint`.
    pub(crate) fn next(&self, endpoint: Endpoint) -> Order<'_> {
        Order {
            faults: self,
            endpoint,
            count: Count::Times(1),
        }
    }

    /// An order for every request to `endpoint` until [`Faults::clear`].
    pub(crate) fn always(&self, endpoint: Endpoint) -> Order<'_> {
        Order {
            faults: self,
            endpoint,
            count: Count::Always,
        }
    }

    /// Forgets every order for `endpoint`.
    pub(crate) fn clear(&self, endpoint: Endpoint) {
        lock(&self.ordered).retain(|ordered| !endpoint.includes(ordered.endpoint));
    }

    /// Takes the oldest order that concerns `endpoint`.
    pub(crate) fn take(&self, endpoint: Endpoint) -> Option<Fault> {
        let mut ordered = lock(&self.ordered);
        let at = ordered
            .iter()
            .position(|ordered| ordered.endpoint.includes(endpoint))?;
        let fault = ordered[at].fault.clone();
        match &mut ordered[at].count {
            Count::Times(times) if *times > 1 => *times -= 1,
            Count::Times(_) => drop(ordered.remove(at)),
            Count::Always => {}
        }
        Some(fault)
    }

    /// The counted orders that nothing has used up, in words.
    pub(crate) fn left_over(&self) -> Vec<String> {
        lock(&self.ordered)
            .iter()
            .filter_map(|ordered| match ordered.count {
                Count::Times(times) => Some(format!(
                    "{:?}, {times} more: {:?}",
                    ordered.endpoint, ordered.fault
                )),
                Count::Always => None,
            })
            .collect()
    }
}

impl Order<'_> {
    /// For the next `times` requests instead of one.
    pub fn times(self, times: u32) -> Self {
        Self {
            count: Count::Times(times),
            ..self
        }
    }

    /// Answers `reply` without doing anything.
    pub fn answers(self, reply: Reply) {
        self.place(Fault::Answer(reply));
    }

    /// Answers an OAuth error (RFC 6749 §5.2) without doing anything.
    pub fn answers_error(self, status: StatusCode, error: &str) {
        let body = json!({ "error": error, "error_description": "on order of the test" });
        self.answers(Reply::json(status, &body));
    }

    /// Is overloaded: 503 with a page of a proxy in front.
    pub fn is_unavailable(self) {
        self.answers(Reply::html(
            StatusCode::SERVICE_UNAVAILABLE,
            "<h1>Service Unavailable</h1>",
        ));
    }

    /// Is overloaded and says for how long: 503 with `Retry-After`, in seconds.
    pub fn is_unavailable_for(self, retry_after: u32) {
        let reply = Reply::html(
            StatusCode::SERVICE_UNAVAILABLE,
            "<h1>Service Unavailable</h1>",
        );
        self.answers(reply.with(RETRY_AFTER, &retry_after.to_string()));
    }

    /// Answers 429 with `Retry-After`, in seconds.
    pub fn rate_limits(self, retry_after: u32) {
        let body = json!({ "error": "RateLimitExceeded", "message": "Rate Limit Exceeded" });
        let reply = Reply::json(StatusCode::TOO_MANY_REQUESTS, &body);
        self.answers(reply.with(RETRY_AFTER, &retry_after.to_string()));
    }

    /// Redirects to `location` (302).
    pub fn redirects_to(self, location: &str) {
        self.answers(Reply::redirect(StatusCode::FOUND, location));
    }

    /// Answers a page instead of JSON, with status 200.
    pub fn answers_html(self) {
        self.answers(Reply::html(
            StatusCode::OK,
            "<!doctype html><title>Welcome</title>",
        ));
    }

    /// Answers honestly, but with another status.
    pub fn changes_status(self, status: StatusCode) {
        self.rewrites(move |reply| Reply { status, ..reply });
    }

    /// Lets the request take effect and answers what `change` makes of the honest answer: another
    /// form, another status, a compressed body.
    pub fn rewrites(self, change: impl Fn(Reply) -> Reply + Send + Sync + 'static) {
        self.place(Fault::Rewrite(Rewrite(Arc::new(change))));
    }

    /// Demands another nonce for the `DPoP` proof (RFC 9449 §8, §9) without doing anything.
    pub fn demands_nonce(self) {
        self.place(Fault::DemandNonce);
    }

    /// Closes the connection before the request takes effect.
    pub fn drops_request(self) {
        self.place(Fault::Disturb(When::Before, Disturbance::Drop));
    }

    /// Lets the request take effect and closes the connection without an answer: the lost
    /// response.
    pub fn drops_response(self) {
        self.place(Fault::Disturb(When::After, Disturbance::Drop));
    }

    /// Never answers; the request takes effect when `when` is [`When::After`].
    pub fn hangs(self, when: When) {
        self.place(Fault::Disturb(when, Disturbance::Hang));
    }

    /// Waits before the request takes effect, or before it is answered.
    pub fn delays(self, when: When, by: Duration) {
        self.place(Fault::Disturb(when, Disturbance::Delay(by)));
    }

    /// Holds the request (or its answer) back until the gate is opened.
    pub fn holds(self, when: When) -> Gate {
        let state = Arc::new(GateState {
            arrived: watch::Sender::new(0),
            open: watch::Sender::new(false),
        });
        self.place(Fault::Disturb(when, Disturbance::Hold(Arc::clone(&state))));
        Gate(state)
    }

    fn place(self, fault: Fault) {
        let ordered = PlannedFault {
            endpoint: self.endpoint,
            count: self.count,
            fault,
        };
        lock(&self.faults.ordered).push(ordered);
    }
}

impl Gate {
    /// Waits until `requests` requests have come to the gate.
    pub async fn reached_by(&self, requests: usize) {
        let mut arrived = self.0.arrived.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = arrived.wait_for(|count| *count >= requests).await;
    }

    /// Lets everything go on, now and later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }
}

impl Disturbance {
    /// Whether nobody gets what was answered before it.
    pub(crate) fn loses_answer(&self) -> bool {
        match self {
            Self::Drop | Self::Hang => true,
            Self::Delay(_) | Self::Hold(_) => false,
        }
    }
}

impl GateState {
    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
    }
}
