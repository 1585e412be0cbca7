//! The way to AWS's own endpoints, the link-local metadata services included. No URL here comes
//! from a stranger: they are the operator's stack file and environment.
//!
//! By `reqwest`, which `object_store` brings along for S3: so `HTTPS_PROXY`, `NO_PROXY` and the
//! system's certificates mean the same for every call to AWS.

use std::time::Duration;

use aip_apply::error_text::root_cause;
use aip_base::{Body, BodyError, Http, HttpError};
use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use reqwest::Client;
use reqwest::redirect::Policy;

/// Sends the requests of the AWS SDK.
pub struct AwsHttp(Client);

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the HTTP client: {0}")]
pub struct AwsHttpError(#[from] reqwest::Error);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl AwsHttp {
    /// A client with the certificates that the system trusts.
    pub fn new() -> Result<Self, AwsHttpError> {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::none());
        Ok(Self(client.build()?))
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
            let body = body.collect().await;
            let body = body.map_err(|error| HttpError::Broken(error.to_string()))?;
            let request = Request::from_parts(head, body.to_bytes());
            let request = reqwest::Request::try_from(request)
                .map_err(|error| HttpError::Refused(root_cause(&error)))?;
            let response = self.0.execute(request).await.map_err(|error| {
                if error.is_connect() {
                    HttpError::Connect(root_cause(&error))
                } else {
                    HttpError::Broken(root_cause(&error))
                }
            })?;
            Ok(Response::from(response).map(|body: reqwest::Body| {
                body.map_err(|error| BodyError(error.into())).boxed_unsync()
            }))
        };
        tokio::time::timeout(deadline, exchange)
            .await
            .unwrap_or(Err(HttpError::Deadline(deadline)))
    }
}
