//! The network of a story: the product's own guarded client with the development switch.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::{Body, DnsError, Http, HttpError, full};
use aip_outbound::{Development, Outbound, OutboundConfig, Resolve};
use async_trait::async_trait;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;

/// Every host of a story is loopback, so nobody asks for an address.
struct NoAddresses;

#[async_trait]
impl Resolve for NoAddresses {
    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, DnsError> {
        Err(DnsError::NoRecord)
    }
}

/// Documents that a story answers itself, by their URLs, and how often each was read.
#[derive(Clone, Default)]
pub(crate) struct Hosted(Arc<Mutex<BTreeMap<String, Document>>>);

#[derive(Clone)]
struct Document {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    reads: usize,
    /// What was posted there.
    received: Vec<String>,
}

/// The status of a server that takes a request and never answers.
const NO_ANSWER: u16 = 0;

impl Hosted {
    /// From now on the URL has this answer.
    pub(crate) fn put(&self, url: &str, status: u16, body: String) {
        self.put_with(url, status, &[], body);
    }

    /// The same with headers.
    pub(crate) fn put_with(
        &self,
        url: &str,
        status: u16,
        headers: &[(&'static str, &str)],
        body: String,
    ) {
        let reads = self.reads(url);
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let document = Document {
            status,
            headers: headers.collect(),
            body,
            reads,
            received: self.received(url),
        };
        self.0.lock().unwrap().insert(url.to_owned(), document);
    }

    /// How often the URL was read.
    pub(crate) fn reads(&self, url: &str) -> usize {
        self.0.lock().unwrap().get(url).map_or(0, |it| it.reads)
    }

    /// From now on nobody who asks for the URL gets an answer.
    pub(crate) fn hang(&self, url: &str) {
        self.put(url, NO_ANSWER, String::new());
    }

    /// What was posted to the URL, the oldest first.
    pub(crate) fn received(&self, url: &str) -> Vec<String> {
        let documents = self.0.lock().unwrap();
        documents
            .get(url)
            .map_or_else(Vec::new, |it| it.received.clone())
    }

    fn is_hosted(&self, url: &str) -> bool {
        self.0.lock().unwrap().contains_key(url)
    }

    fn receive(&self, url: &str, body: &[u8]) {
        let body = String::from_utf8(body.to_vec()).unwrap();
        let mut documents = self.0.lock().unwrap();
        documents.get_mut(url).unwrap().received.push(body);
    }

    fn read(&self, url: &str) -> Option<Document> {
        let mut documents = self.0.lock().unwrap();
        let document = documents.get_mut(url)?;
        document.reads += 1;
        Some(document.clone())
    }
}

/// Hosted documents, and everything else through the guard.
struct HostedOrOutbound {
    hosted: Hosted,
    outbound: Outbound,
}

#[async_trait]
impl Http for HostedOrOutbound {
    async fn send(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, HttpError> {
        let url = request.uri().to_string();
        if !self.hosted.is_hosted(&url) {
            return self.outbound.send(request, deadline).await;
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if head.method == Method::POST {
            self.hosted.receive(&url, &body);
        }
        match self.hosted.read(&url) {
            None => panic!("{url} is not hosted any more"),
            Some(Document {
                status: NO_ANSWER, ..
            }) => std::future::pending().await,
            Some(Document {
                status,
                headers,
                body,
                ..
            }) => {
                let response = Response::builder().status(status);
                let response = headers
                    .iter()
                    .fold(response, |it, (name, value)| it.header(*name, value));
                Ok(response.body(full(body)).unwrap())
            }
        }
    }
}

/// The way out of AIP, as in production but for the loopback interface and what is `hosted`.
pub(crate) fn outbound(hosted: &Hosted) -> Arc<dyn Http> {
    let development = Development {
        allow_loopback: true,
        ..Development::default()
    };
    let config = OutboundConfig {
        development: Some(development),
        ..OutboundConfig::default()
    };
    Arc::new(HostedOrOutbound {
        hosted: hosted.clone(),
        outbound: Outbound::new(config, Arc::new(NoAddresses)).unwrap(),
    })
}
