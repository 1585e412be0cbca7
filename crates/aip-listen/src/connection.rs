//! One connection: HTTP/1.1 (RFC 9112) with the limits of its listener.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use aip_base::PeerAddr;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::{ListenConfig, RequestBody};

/// What answers requests: any tower service that cannot fail, such as an axum router.
pub trait HttpService:
    Service<Request<RequestBody>, Response = Response<Self::Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
    /// The body of its answers.
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
}

/// Serves requests until the peer closes, a limit is reached, or the drain has begun and the
/// running request is answered.
pub(crate) async fn serve<S: HttpService>(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    service: S,
    config: &ListenConfig,
    drain: Watcher,
) {
    let service = TowerToHyperService::new(service);
    let with_peer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(peer));
        service.call(RequestBody::wrap(request))
    });
    let connection = http1::Builder::new()
        // Without a timer the time limit below would not exist.
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_read_timeout)
        .max_headers(config.max_headers)
        .max_header_size(config.max_header_bytes)
        .serve_connection(TokioIo::new(io), with_peer);
    if let Err(error) = drain.watch(connection).await {
        // A peer that went away or sent garbage: hyper has answered it where it could.
        tracing::debug!(listener = config.name, %error, "connection ended early");
    }
}
