//! An [`Http`] for the loopback interface: what tests, the person at the pages and the demo app
//! use. It has no TLS and no guard, and so has no place in the product.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::{Body, BodyError, Http, HttpError, lock};
use async_trait::async_trait;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Plain HTTP/1.1 to the loopback interface, one connection per request.
///
/// A host that was named with [`PlainHttp::map_host`] is reached at its address whatever the
/// scheme of the URL: a test can give an application on a loopback port an `https` name.
#[derive(Debug, Clone, Default)]
pub struct PlainHttp {
    hosts: Arc<Mutex<HashMap<String, SocketAddr>>>,
}

impl PlainHttp {
    /// Sends requests for `host`, on any port and with any scheme, to `address`. Clones share
    /// their hosts.
    pub fn map_host(&self, host: &str, address: SocketAddr) {
        lock(&self.hosts).insert(host.to_ascii_lowercase(), address);
    }

    fn address(&self, uri: &Uri) -> Result<SocketAddr, HttpError> {
        let refused = || HttpError::Refused(format!("{uri} is not on the loopback interface"));
        let host = uri.host().ok_or_else(refused)?.to_ascii_lowercase();
        if let Some(address) = lock(&self.hosts).get(&host) {
            return Ok(*address);
        }
        if uri.scheme_str() != Some("http") {
            return Err(refused());
        }
        match host.as_str() {
            "localhost" | "127.0.0.1" => Ok(SocketAddr::from((
                Ipv4Addr::LOCALHOST,
                uri.port_u16().unwrap_or(80),
            ))),
            _ => Err(refused()),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        let address = self.address(request.uri())?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| HttpError::Connect(error.to_string()))?;
        let broken = |error: hyper::Error| HttpError::Broken(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        tokio::spawn(connection);
        let response = sender
            .send_request(origin_form(request))
            .await
            .map_err(broken)?;
        Ok(response.map(|body| {
            body.map_err(|error| BodyError(Box::new(error)))
                .boxed_unsync()
        }))
    }
}

#[async_trait]
impl Http for PlainHttp {
    async fn send(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, HttpError> {
        tokio::time::timeout(deadline, self.exchange(request))
            .await
            .unwrap_or(Err(HttpError::Deadline(deadline)))
    }
}

/// Moves the authority from the request's URI to its `Host` header (RFC 9112 §3.2.1).
fn origin_form(mut request: Request<Body>) -> Request<Body> {
    let authority = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(&authority) {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(target.unwrap_or(PathAndQuery::from_static("/")));
    request
}
