//! Stand-ins for unit tests: a network with a script, DNS with a table.

mod documents;

pub(crate) use aip_testkit::clock::ManualClock;
pub(crate) use documents::{ALICE, AUTH, PDS, did_document, resource_metadata, server_metadata};

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::{Body, Clock, DnsError, DnsTxt, Fetched, Http, HttpError, Limits, Partial};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

/// The header with which a scripted answer says that its connection breaks at its end.
pub(crate) const CUT_OFF_HEADER: &str = "x-cut";

/// An answer of the scripted network.
pub(crate) type Answer = Result<Fetched, HttpError>;

/// Makes an answer, as often as it is asked for.
pub(crate) type Respond = Box<dyn Fn() -> Answer + Send>;

/// Makes an answer to one request.
type Answering = Box<dyn Fn(&Request<Bytes>) -> Answer + Send>;

/// A network in which each URL has its answers: the next one each time, the last one for ever.
#[derive(Default)]
pub(crate) struct Network {
    answers: Mutex<HashMap<String, VecDeque<Answering>>>,
    requests: Mutex<Vec<Request<Bytes>>>,
    takes: Mutex<Duration>,
}

impl Network {
    /// Adds an answer of `url`.
    pub(crate) fn on(&self, url: &str, answer: impl Fn() -> Answer + Send + 'static) -> &Self {
        self.on_request(url, move |_| answer())
    }

    /// Adds an answer of `url` that depends on the request.
    pub(crate) fn on_request(
        &self,
        url: &str,
        answer: impl Fn(&Request<Bytes>) -> Answer + Send + 'static,
    ) -> &Self {
        self.answers
            .lock()
            .unwrap()
            .entry(url.to_owned())
            .or_default()
            .push_back(Box::new(answer));
        self
    }

    /// Forgets the answers of `url` and gives it another one.
    pub(crate) fn now(&self, url: &str, answer: impl Fn() -> Answer + Send + 'static) -> &Self {
        self.forget(url);
        self.on(url, answer)
    }

    /// Forgets the answers of `url`.
    pub(crate) fn forget(&self, url: &str) {
        self.answers.lock().unwrap().remove(url);
    }

    /// Every answer takes so long from now on, by the clock of the runtime.
    pub(crate) fn takes(&self, time: Duration) {
        *self.takes.lock().unwrap() = time;
    }

    /// The requests to `url`, oldest first.
    pub(crate) fn to(&self, url: &str) -> Vec<Request<Bytes>> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|request| request.uri() == url)
            .cloned()
            .collect()
    }
}

#[async_trait]
impl Http for Network {
    async fn send(&self, _: Request<Body>, _: Duration) -> Result<Response<Body>, HttpError> {
        unreachable!("everything here is fetched")
    }

    async fn fetch_partial(
        &self,
        mut request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Partial, HttpError> {
        let takes = *self.takes.lock().unwrap();
        // A real network gives others a turn; so does this one.
        tokio::task::yield_now().await;
        let url = request.uri().to_string();
        let identity = HeaderValue::from_static("identity");
        request
            .headers_mut()
            .entry("accept-encoding")
            .or_insert(identity);
        self.requests.lock().unwrap().push(request.clone());
        if takes > limits.deadline {
            tokio::time::sleep(limits.deadline).await;
            return Err(HttpError::Deadline(limits.deadline));
        }
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let mut answers = self.answers.lock().unwrap();
        let Some(script) = answers.get_mut(&url) else {
            return Err(HttpError::Connect(format!("nobody listens at {url}")));
        };
        let fetched = if script.len() > 1 {
            script.pop_front().unwrap()(&request)?
        } else {
            script[0](&request)?
        };
        // A script cannot cut a body off; it says so in a header.
        let broke = fetched.headers.get(CUT_OFF_HEADER).is_some();
        let broke = broke.then(|| HttpError::Broken("cut".to_owned()));
        Ok(Partial { fetched, broke })
    }
}

/// An answer with `status`, JSON `body` and `headers`.
#[allow(
    clippy::unnecessary_wraps,
    reason = "what a script of the network gives is a result"
)]
pub(crate) fn answer(status: u16, body: &str, headers: &[(&'static str, &str)]) -> Answer {
    let mut map = HeaderMap::new();
    map.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        map.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let status = StatusCode::from_u16(status).unwrap();
    Ok(Fetched {
        status,
        headers: map,
        body: body.to_owned().into(),
    })
}

/// A 200 answer with a JSON body, as often as it is asked for.
pub(crate) fn json(body: &serde_json::Value) -> impl Fn() -> Answer + Send + 'static {
    let body = body.to_string();
    move || answer(200, &body, &[])
}

/// DNS with a table of TXT records.
#[derive(Default)]
pub(crate) struct Dns(pub(crate) Mutex<HashMap<String, Vec<String>>>);

impl Dns {
    pub(crate) fn txt_records(&self, name: &str, records: &[&str]) {
        let records = records.iter().map(ToString::to_string).collect();
        self.0.lock().unwrap().insert(name.to_owned(), records);
    }
}

#[async_trait]
impl DnsTxt for Dns {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        self.0
            .lock()
            .unwrap()
            .get(name)
            .cloned()
            .ok_or(DnsError::NoRecord)
    }
}

/// The scripted world, and the product's own parts in it.
pub(crate) struct World {
    pub(crate) network: Arc<Network>,
    pub(crate) dns: Arc<Dns>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) client: crate::PdsClient,
}

impl World {
    /// An empty world with one PLC directory, and one handle fallback.
    pub(crate) fn new() -> Self {
        Self::with_directories(&["https://plc.org"])
    }

    /// Likewise, with these PLC directories.
    pub(crate) fn with_directories(plc: &[&str]) -> Self {
        let network = Arc::new(Network::default());
        let dns = Arc::new(Dns::default());
        let clock = Arc::new(ManualClock::default());
        let origin = |text: &str| aip_atproto::Origin::parse(text).unwrap();
        let config = crate::ResolverConfig {
            plc: plc.iter().map(|it| origin(it)).collect(),
            handle_fallback: vec![origin("https://fallback.org")],
            ..Default::default()
        };
        let (http, clock_) = (
            network.clone() as Arc<dyn Http>,
            clock.clone() as Arc<dyn Clock>,
        );
        let resolver = crate::Resolver::new(http.clone(), dns.clone(), clock_.clone(), config);
        let nonces = Arc::new(crate::MemoryNonces::new(100, clock_.clone()));
        let rng = Arc::new(aip_base::SystemRng);
        let client = crate::PdsClient::new(http, clock_, rng, nonces, Arc::new(resolver));
        Self {
            network,
            dns,
            clock,
            client,
        }
    }
}
