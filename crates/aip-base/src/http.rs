//! The outgoing network as a value. `aip-outbound` implements [`Http`] with a guard against
//! hostile addresses; tests hand in a stand-in.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};

/// A streaming body. Requests to a PDS and its answers pass through without being collected.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body that broke off.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off: {0}")]
pub struct BodyError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body of no bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// What one exchange may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes of the answer's body that [`Http::fetch`] collects.
    pub max_bytes: usize,
    /// The time from the call to the last collected byte (to the head for [`Http::send`]).
    pub deadline: Duration,
}

impl Limits {
    /// For documents and OAuth answers: 512 KiB within 10 s, as the reference client has it.
    pub const DOCUMENT: Self = Self {
        max_bytes: 512 * 1024,
        deadline: Duration::from_secs(10),
    };
}

/// A collected answer.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The status, whatever it is: only the caller knows which one is right.
    pub status: StatusCode,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The whole body, within [`Limits::max_bytes`].
    pub body: Bytes,
}

/// Why an exchange failed. What matters to callers: was the request possibly processed?
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The outbound guard refused the URL or every address of its host. Nothing was sent.
    #[error("refused by the outbound guard: {0}")]
    Refused(String),
    /// No connection (DNS, TCP or TLS failed, or it took too long). Nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke after the request had begun to leave: it may have been processed.
    #[error("the connection broke before the answer was complete: {0}")]
    Broken(String),
    /// No (complete) answer within the deadline: the request may have been processed.
    #[error("no complete answer within {0:?}")]
    Deadline(Duration),
    /// The answer's body is larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl HttpError {
    /// Whether the request may have reached the other side. `false` means it is safe to repeat.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Connect(_) => false,
            Self::Broken(_) | Self::Deadline(_) | Self::TooLarge(_) => true,
        }
    }
}

/// Sends requests to other servers. There is one implementation for the product, which guards
/// every address; nothing else in the program opens connections for HTTP.
#[async_trait]
pub trait Http: Send + Sync + 'static {
    /// Sends `request` (absolute URI) and returns the answer's head as soon as it is there, with
    /// the body still streaming. No redirect is followed, nothing is decompressed.
    async fn send(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, HttpError>;

    /// Sends `request` and collects the answer within `limits`.
    async fn fetch(&self, request: Request<Bytes>, limits: Limits) -> Result<Fetched, HttpError> {
        let exchange = async {
            let response = self.send(request.map(full), limits.deadline).await?;
            let (head, mut body) = response.into_parts();
            let mut collected = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|e| HttpError::Broken(e.to_string()))?;
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if collected.len() + data.len() > limits.max_bytes {
                    return Err(HttpError::TooLarge(limits.max_bytes));
                }
                collected.extend_from_slice(&data);
            }
            Ok(Fetched {
                status: head.status,
                headers: head.headers,
                body: collected.freeze(),
            })
        };
        tokio::time::timeout(limits.deadline, exchange)
            .await
            .unwrap_or(Err(HttpError::Deadline(limits.deadline)))
    }
}
