//! Bodies that know more than their bytes: requests that tell how far they have left, and answers
//! that hold their place among the requests to their host.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aip_base::{Body, BodyError, Pace, Paced};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::host_limits::Slot;

/// The minimum rate of an answer.
const RESPONSE_PACE: Pace = Pace {
    grace: Duration::from_secs(10),
    bytes_per_second: 1024,
};

/// The rate at which the other side must take a request's body, all in all.
const MIN_REQUEST_BYTES_PER_SECOND: u32 = 8 * 1024;

/// How far a request has left.
#[derive(Debug, Clone)]
pub(crate) struct SendState(Arc<Progress>);

#[derive(Debug)]
struct Progress {
    begun: AtomicBool,
    started: Instant,
    /// Bytes of the body that were handed to the connection.
    bytes: AtomicU64,
    /// When the last of them were, in milliseconds from the start.
    last: AtomicU64,
}

/// A request body that notes its departure.
///
/// The connection looks at a body (here: `is_end_stream`) for the first time when it writes the
/// head, and never while the request waits for a connection. An earlier look would only make us
/// more careful than needed.
pub(crate) struct SendTrackingBody {
    inner: Body,
    send_state: SendState,
}

/// An answer's body, with a minimum rate and the place of its request.
pub(crate) struct AnswerBody<B> {
    inner: Paced<B>,
    _slot: Slot,
}

impl SendState {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Progress {
            begun: AtomicBool::new(false),
            started: Instant::now(),
            bytes: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }))
    }

    /// Once a request has begun to leave, it may have been processed.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Until when an answer is waited for: for `deadline` after the last piece of the body left, if
    /// the whole of it leaves at the minimum rate. So the deadline does not depend on the size.
    pub(crate) fn waits_until(&self, deadline: Duration) -> Instant {
        let Progress {
            started,
            bytes,
            last,
            ..
        } = &*self.0;
        let paid =
            Duration::from_secs(bytes.load(Ordering::Acquire)) / MIN_REQUEST_BYTES_PER_SECOND;
        let last = Duration::from_millis(last.load(Ordering::Acquire));
        *started + deadline + last.min(paid)
    }

    fn note(&self, bytes: usize) {
        let progress = &self.0;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        progress.bytes.fetch_add(bytes, Ordering::AcqRel);
        let millis = u64::try_from(progress.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        progress.last.store(millis, Ordering::Release);
    }
}

impl SendTrackingBody {
    pub(crate) fn new(inner: Body, send_state: SendState) -> Self {
        Self { inner, send_state }
    }
}

impl HttpBody for SendTrackingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.send_state.note(data.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.send_state.0.begun.store(true, Ordering::Release);
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> AnswerBody<B> {
    pub(crate) fn new(inner: B, slot: Slot) -> Self {
        Self {
            inner: Paced::new(inner, RESPONSE_PACE),
            _slot: slot,
        }
    }
}

impl<B> HttpBody for AnswerBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_body_that_leaves_steadily_may_take_longer_than_the_deadline() {
        let send_state = SendState::new();
        // 50 MB at 1 Mbit/s.
        for _ in 0..400 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(send_state.waits_until(DEADLINE) > Instant::now());
            send_state.note(125_000);
        }
        assert_eq!(send_state.waits_until(DEADLINE), Instant::now() + DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_takes_is_not_waited_for() {
        let start = Instant::now();
        let send_state = SendState::new();
        assert_eq!(send_state.waits_until(DEADLINE), start + DEADLINE);
        let until = loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            send_state.note(1024);
            let until = send_state.waits_until(DEADLINE);
            if until <= Instant::now() {
                break until;
            }
        };
        assert!(
            until - start < Duration::from_secs(75),
            "{:?}",
            until - start
        );
    }
}
