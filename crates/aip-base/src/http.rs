//! The outgoing network as a value. `aip-outbound` implements [`Http`] with a guard against
//! hostile addresses; tests hand in a stand-in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
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
    /// The time from the call to the last collected byte.
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

/// An answer as far as it came.
#[derive(Debug)]
pub struct Partial {
    /// The head, and the part of the body that came.
    pub fetched: Fetched,
    /// Why there is not more of the body, if there should be.
    pub broke: Option<HttpError>,
}

impl Fetched {
    /// The content coding of the body (RFC 9110 §8.4), if it has one: as the server wrote it, cut
    /// to 40 characters.
    pub fn content_coding(&self) -> Option<String> {
        let values = self.headers.get_all(CONTENT_ENCODING).iter();
        let codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let codings: Vec<_> = codings
            .map(|coding| {
                String::from_utf8_lossy(coding.trim_ascii())
                    .escape_default()
                    .to_string()
            })
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
            .collect();
        (!codings.is_empty()).then(|| codings.join(", ").chars().take(40).collect())
    }

    /// Whether its content type says that it is JSON: `application/json`, or `application/…+json`
    /// (RFC 6839 §3.1).
    pub fn is_json(&self) -> bool {
        let value = self.headers.get(CONTENT_TYPE);
        let value = value.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let media_type = value.split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        media_type
            .strip_prefix("application/")
            .is_some_and(|it| it == "json" || it.ends_with("+json"))
    }
}

/// Whose call a request is, in its extensions. Of the requests in flight to a host each account and
/// each app has a share; requests without this are the program's own, and have capacity of their
/// own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBehalfOf {
    /// The DID of the account that a call is for.
    pub account: Arc<str>,
    /// The app.
    pub client: Arc<str>,
}

/// Which share of a host's capacity is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// That of one account.
    Account,
    /// That of one app.
    Client,
    /// All of it.
    Host,
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Account => "of this account",
            Self::Client => "of this app",
            Self::Host => "of all callers",
        })
    }
}

/// Why an exchange failed. What matters to callers: was the request possibly processed?
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The outbound guard refused the URL or every address of its host. Nothing was sent.
    #[error("refused by the outbound guard: {0}")]
    Refused(String),
    /// The name of the host does not exist, or has no address: a definite answer of DNS. Nothing was
    /// sent.
    #[error("there is no host of this name")]
    NoHost,
    /// No connection (DNS, TCP or TLS failed, or it took too long). Nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// Too many requests are in flight to the host, and no place became free. Nothing was sent.
    #[error("too many requests {0} are in flight to this host")]
    Busy(Share),
    /// The connection broke after the request had begun to leave: it may have been processed.
    #[error("the connection broke before the answer was complete: {0}")]
    Broken(String),
    /// No (complete) answer within the deadline: the request may have been processed.
    #[error("no complete answer within {0:?}")]
    Deadline(Duration),
    /// The answer's body is larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer's body is compressed, which was not asked for.
    #[error(
        "the answer is compressed (`Content-Encoding: {0}`), against `Accept-Encoding: identity`"
    )]
    Compressed(String),
}

impl HttpError {
    /// Whether the request may have reached the other side. `false` means it is safe to repeat.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Refused(_) | Self::NoHost | Self::Connect(_) | Self::Busy(_) => false,
            Self::Broken(_) | Self::Deadline(_) | Self::TooLarge(_) | Self::Compressed(_) => true,
        }
    }
}

/// Sends requests to other servers. There is one implementation for the product, which guards
/// every address; nothing else in the program opens connections for HTTP.
#[async_trait]
pub trait Http: Send + Sync + 'static {
    /// Sends `request` (absolute URI) and returns the answer's head as soon as it is there, with
    /// the body still streaming. No redirect is followed, nothing is decompressed. `deadline` is
    /// how long the head may take after the request, with its body, has left; the body has a
    /// minimum rate instead.
    async fn send(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, HttpError>;

    /// Sends `request` and collects the answer within `limits`. A compressed answer is an error:
    /// none was asked for, and what it would unpack to is not bounded.
    async fn fetch(&self, request: Request<Bytes>, limits: Limits) -> Result<Fetched, HttpError> {
        let Partial { fetched, broke } = self.fetch_partial(request, limits).await?;
        if let Some(error) = broke {
            return Err(error);
        }
        match fetched.content_coding() {
            Some(coding) => Err(HttpError::Compressed(coding)),
            None => Ok(fetched),
        }
    }

    /// Sends `request` and collects of the answer what comes within `limits`, also when it breaks
    /// off, is too large or compressed. For answers that may hold what is issued only once.
    ///
    /// The error is one of the time before the head of the answer.
    async fn fetch_partial(
        &self,
        mut request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Partial, HttpError> {
        // Without the header any content coding is acceptable (RFC 9110 §12.5.3).
        request
            .headers_mut()
            .entry(ACCEPT_ENCODING)
            .or_insert(HeaderValue::from_static("identity"));
        let late = || HttpError::Deadline(limits.deadline);
        let until = tokio::time::Instant::now() + limits.deadline;
        let response =
            tokio::time::timeout_at(until, self.send(request.map(full), limits.deadline));
        let (head, mut body) = response.await.unwrap_or_else(|_| Err(late()))?.into_parts();
        let mut collected = BytesMut::new();
        let broke = loop {
            let frame = match tokio::time::timeout_at(until, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => break Some(HttpError::Broken(error.to_string())),
                Ok(None) => break None,
                Err(_) => break Some(late()),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let room = limits.max_bytes - collected.len();
            collected.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                break Some(HttpError::TooLarge(limits.max_bytes));
            }
        };
        let fetched = Fetched {
            status: head.status,
            headers: head.headers,
            body: collected.freeze(),
        };
        Ok(Partial { fetched, broke })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn json_is_told_by_its_media_type() {
        let says = |content_type: Option<&'static str>| {
            let headers = content_type.map(|it| (CONTENT_TYPE, HeaderValue::from_static(it)));
            let fetched = Fetched {
                status: StatusCode::OK,
                headers: HeaderMap::from_iter(headers),
                body: Bytes::new(),
            };
            fetched.is_json()
        };
        for json in [
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/did+ld+json",
            "application/did+json",
        ] {
            assert!(says(Some(json)), "{json}");
        }
        for other in [
            "text/html",
            "text/json",
            "image/x+json",
            "application/jsonl",
            "json",
            "",
        ] {
            assert!(!says(Some(other)), "{other}");
        }
        assert!(!says(None));
    }
}
