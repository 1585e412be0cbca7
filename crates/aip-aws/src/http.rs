//! The SDK's HTTP client, by way of [`aip_base::Http`]: proxies, certificates and limits are those
//! of every other request, and tests hand in a stand-in.
//!
//! The SDK's own client (`aws-smithy-http-client`) would link a second TLS client configuration and
//! reads no `HTTPS_PROXY` (looked at on 2026-11-29, with `aws-config` 1.13).

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Http, HttpError, Limits};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

/// The client; it makes a connector for each set of timeouts that a service asks for.
#[derive(Clone)]
pub struct SdkHttp(pub Arc<dyn Http>);

impl std::fmt::Debug for SdkHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SdkHttp")
    }
}

impl HttpClient for SdkHttp {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connect = settings.connect_timeout();
        // The instance metadata service has a second for each: nobody answers outside EC2.
        let deadline = settings
            .read_timeout()
            .map(|read| read + connect.unwrap_or_default());
        SharedHttpConnector::new(Connector {
            http: self.clone(),
            deadline: deadline.unwrap_or(Limits::DOCUMENT.deadline),
        })
    }
}

#[derive(Debug)]
struct Connector {
    http: SdkHttp,
    deadline: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = Arc::clone(&self.http.0);
        let limits = Limits {
            deadline: self.deadline,
            ..Limits::DOCUMENT
        };
        HttpConnectorFuture::new(async move {
            let request = collected(request)?;
            let host = request.uri().authority().map(ToString::to_string);
            let answer = http.fetch(request, limits).await;
            let answer = answer.map_err(|error| connector_error(host, error))?;
            let mut response = HttpResponse::new(answer.status.into(), SdkBody::from(answer.body));
            for (name, value) in &answer.headers {
                // A header that is no UTF-8 is none that the SDK reads.
                let _ = response
                    .headers_mut()
                    .try_append(name.clone(), value.clone());
            }
            Ok(response)
        })
    }
}

/// The request with its body, which is small and in memory for every service called here.
fn collected(request: HttpRequest) -> Result<http::Request<Bytes>, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    let (head, body) = request.into_parts();
    match body.bytes() {
        Some(bytes) => Ok(http::Request::from_parts(
            head,
            Bytes::copy_from_slice(bytes),
        )),
        None => Err(ConnectorError::user("the request is a stream".into())),
    }
}

/// An exchange that failed. The SDK's errors do not name the host, which an operator wants to know:
/// of STS, of an SSO portal, of a container.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {error}")]
struct ExchangeError {
    host: String,
    error: HttpError,
}

/// What the SDK may try again, it tries again.
fn connector_error(host: Option<String>, error: HttpError) -> ConnectorError {
    let is_timeout = matches!(error, HttpError::Deadline(_));
    let host = host.unwrap_or_default();
    let failed = Box::new(ExchangeError { host, error });
    if is_timeout {
        ConnectorError::timeout(failed)
    } else {
        ConnectorError::io(failed)
    }
}
