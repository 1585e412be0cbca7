//! Towards servers that the operator named: collectors of traces and error reports, which are
//! usually inside his own network. There is nothing to guard, as nobody else can choose the
//! address. Nothing that a person, a document or a client can influence goes through here.

use std::time::Duration;

use aip_base::{Body, BodyError, Http, HttpError};
use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::body::{SendState, SendTrackingBody};
use crate::client::Failure;
use crate::{OutboundConfigError, tls};

/// How long an unused connection is kept: longer than the pause between two batches.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// The client for servers that the operator named.
pub struct OperatorHttp(Client<HttpsConnector<HttpConnector>, SendTrackingBody>);

impl OperatorHttp {
    /// The client that trusts `extra_ca_pem` besides the system's certificates.
    pub fn new(extra_ca_pem: &[Vec<u8>]) -> Result<Self, OutboundConfigError> {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(extra_ca_pem)?)
            .https_or_http()
            .enable_http1()
            .build();
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the client that everybody is handed"
        )]
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build(https);
        Ok(Self(client))
    }
}

#[async_trait]
impl Http for OperatorHttp {
    async fn send(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, HttpError> {
        let send_state = SendState::new();
        let request = request.map(|body| SendTrackingBody::new(body, send_state.clone()));
        match tokio::time::timeout(deadline, self.0.request(request)).await {
            Ok(Ok(response)) => Ok(response.map(|body| {
                body.map_err(|error| BodyError(Box::new(error)))
                    .boxed_unsync()
            })),
            Ok(Err(error)) => Err(Failure::from(error).into_http_error(&send_state)),
            Err(_) => Err(HttpError::Deadline(deadline)),
        }
    }
}
