//! The way to AWS's own endpoints, the link-local metadata services included. No URL here comes
//! from a stranger: they are the operator's stack file and environment.

use std::time::Duration;

use aip_base::{Body, Http, HttpError, full};
use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector as _, HttpErrorKind, ReqwestConnector};

use crate::error_text::root_cause;

/// Sends the few requests that need credentials or a key.
pub struct AwsHttp(HttpClient);

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the HTTP client: {0}")]
pub struct AwsHttpError(#[from] object_store::Error);

impl AwsHttp {
    /// A client with the certificates that the system trusts.
    pub fn new() -> Result<Self, AwsHttpError> {
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_connect_timeout(Duration::from_secs(5));
        Ok(Self(ReqwestConnector::default().connect(&options)?))
    }
}

#[async_trait]
impl Http for AwsHttp {
    async fn send(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, HttpError> {
        let exchange = async {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map_err(|e| HttpError::Broken(e.to_string()))?
                .to_bytes();
            let request = Request::from_parts(head, body.into());
            let response = self
                .0
                .execute(request)
                .await
                .map_err(|error| match error.kind() {
                    HttpErrorKind::Connect => HttpError::Connect(root_cause(&error)),
                    _ => HttpError::Broken(root_cause(&error)),
                })?;
            let (head, body) = response.into_parts();
            let body = body
                .bytes()
                .await
                .map_err(|error| HttpError::Broken(root_cause(&error)))?;
            Ok(Response::from_parts(head, full(body)))
        };
        tokio::time::timeout(deadline, exchange)
            .await
            .unwrap_or(Err(HttpError::Deadline(deadline)))
    }
}
