//! The network of a story: the product's own guarded client with the development switch.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::{Body, DnsError, Http, HttpError, full};
use aip_outbound::{Development, Outbound, OutboundConfig, Resolve};
use async_trait::async_trait;
use http::{Request, Response};

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
    body: String,
    reads: usize,
}

impl Hosted {
    /// From now on the URL has this answer.
    pub(crate) fn put(&self, url: &str, status: u16, body: String) {
        let reads = self.reads(url);
        let document = Document {
            status,
            body,
            reads,
        };
        self.0.lock().unwrap().insert(url.to_owned(), document);
    }

    /// How often the URL was read.
    pub(crate) fn reads(&self, url: &str) -> usize {
        self.0.lock().unwrap().get(url).map_or(0, |it| it.reads)
    }

    fn read(&self, url: &str) -> Option<Document> {
        let mut documents = self.0.lock().unwrap();
        let document = documents.get_mut(url)?;
        document.reads += 1;
        Some(document.clone())
    }
}

/// Hosted documents, and everything else through the guard.
struct HostedOr {
    hosted: Hosted,
    outbound: Outbound,
}

#[async_trait]
impl Http for HostedOr {
    async fn send(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, HttpError> {
        match self.hosted.read(&request.uri().to_string()) {
            None => self.outbound.send(request, deadline).await,
            Some(Document { status, body, .. }) => {
                let response = Response::builder().status(status);
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
    Arc::new(HostedOr {
        hosted: hosted.clone(),
        outbound: Outbound::new(config, Arc::new(NoAddresses)).unwrap(),
    })
}
