//! The body of a request, which is read to its end though nobody wants the rest.
//!
//! A handler often answers before it has read everything: too large, no valid token. Were the
//! connection closed then, the peer's next bytes would meet a reset, which discards an answer that the
//! peer has not read yet (RFC 9112 §9.6). So what is left is read and discarded, within limits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;

/// What is read of a body that nobody wants: more than the largest blob that a PDS takes.
const MAX_DISCARDED_BYTES: usize = 128 * 1024 * 1024;

/// How long that may take.
const MAX_DISCARD_TIME: Duration = Duration::from_secs(10);

/// The body of a request. Dropped before its end, it is read to the end by a task of its own.
#[derive(Debug)]
pub struct RequestBody {
    body: Option<Incoming>,
    /// The peer sends nothing before it is told to, and reading is what tells it (RFC 9110 §10.1.1).
    awaits_continue: bool,
}

impl RequestBody {
    /// The same request with its body wrapped.
    pub(crate) fn wrap(request: Request<Incoming>) -> Request<Self> {
        let awaits_continue = expects_continue(request.headers());
        request.map(|body| Self {
            body: Some(body),
            awaits_continue,
        })
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let expect = headers.get(EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.awaits_continue = false;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(Body::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else {
            return;
        };
        if body.is_end_stream() || self.awaits_continue {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(MAX_DISCARD_TIME, discard(body)));
        }
    }
}

/// Reads until the end, an error or the limit. A connection whose body is not at its end then is
/// closed by hyper.
async fn discard(mut body: Incoming) {
    let mut discarded = 0;
    while discarded < MAX_DISCARDED_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => discarded += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}
