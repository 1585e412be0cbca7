//! Stand-ins for the network, and for the health of the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aip_base::{Body, DnsError, DnsTxt, Http, HttpError};
use aip_http::Health;
use aip_oauth::claims::{ClaimedEmail, Emails};
use aip_storage::StorageError;
use aip_storage::grant::Grant;
use async_trait::async_trait;
use http::{Request, Response};

/// No network: what asks a PDS is a story of the `aip` crate.
pub(crate) struct NoNetwork;

#[async_trait]
impl Http for NoNetwork {
    async fn send(&self, request: Request<Body>, _: Duration) -> Result<Response<Body>, HttpError> {
        panic!("a request was sent to {}", request.uri());
    }
}

#[async_trait]
impl DnsTxt for NoNetwork {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        panic!("{name} was looked up");
    }
}

/// No account has an address.
pub(crate) struct NoEmails;

#[async_trait]
impl Emails for NoEmails {
    async fn email(&self, _: &Grant) -> Result<Option<ClaimedEmail>, StorageError> {
        Ok(None)
    }
}

/// Ready unless told otherwise.
#[derive(Default)]
pub(crate) struct Healthy {
    pub(crate) drains: AtomicBool,
    pub(crate) panics: AtomicBool,
}

#[async_trait]
impl Health for Healthy {
    fn started(&self) -> bool {
        true
    }

    async fn ready(&self) -> Result<(), String> {
        assert!(!self.panics.load(Ordering::SeqCst), "as the test wants it");
        if self.drains.load(Ordering::SeqCst) {
            return Err("it drains".to_owned());
        }
        Ok(())
    }
}
