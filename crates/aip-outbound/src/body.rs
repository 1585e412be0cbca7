//! Bodies that know more than their bytes: requests that tell whether they began to leave, and
//! answers that break off when the other side is too slow.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aip_base::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// How long an answer may stand still, and what it can save up.
const GRACE: Duration = Duration::from_secs(10);

/// Bytes per second that pay for one second of waiting.
const MIN_BYTES_PER_SECOND: u32 = 1024;

/// Whether a request has begun to leave. Once it has, it may have been processed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Departure(Arc<AtomicBool>);

/// A request body that notes its departure.
///
/// The connection looks at a body (here: `is_end_stream`) for the first time when it writes the
/// head, and never while the request waits for a connection. An earlier look would only make us
/// more careful than needed.
pub(crate) struct DepartingBody {
    inner: Body,
    departure: Departure,
}

/// An answer's body with a minimum throughput. Waiting costs, bytes pay: a server that sends
/// one byte per second is cut off after [`GRACE`], a reader that takes its time is not.
pub(crate) struct PatientBody<B> {
    inner: B,
    allowance: Duration,
    waiting_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

#[derive(Debug, thiserror::Error)]
#[error("the answer came more slowly than {MIN_BYTES_PER_SECOND} bytes per second")]
struct TooSlow;

impl Departure {
    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl DepartingBody {
    pub(crate) fn new(inner: Body, departure: Departure) -> Self {
        Self { inner, departure }
    }
}

impl HttpBody for DepartingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.departure.0.store(true, Ordering::Release);
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> PatientBody<B> {
    pub(crate) fn new(inner: B, slot: OwnedSemaphorePermit) -> Self {
        Self {
            inner,
            allowance: GRACE,
            waiting_since: None,
            timer: Box::pin(tokio::time::sleep(GRACE)),
            _slot: slot,
        }
    }

    /// Ends the wait, if there was one, and takes it from the allowance.
    fn settle(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.allowance = self.allowance.saturating_sub(since.elapsed());
        }
    }
}

impl<B> HttpBody for PatientBody<B>
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
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.settle();
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
                let earned = Duration::from_secs(bytes.into()) / MIN_BYTES_PER_SECOND;
                this.allowance = (this.allowance + earned).min(GRACE);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|e| BodyError(e.into()))));
        }
        if this.waiting_since.is_none() {
            let now = Instant::now();
            this.waiting_since = Some(now);
            this.timer.as_mut().reset(now + this.allowance);
        }
        ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError(TooSlow.into()))))
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
    use std::convert::Infallible;

    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    /// Yields `size` bytes per second, `chunks` times.
    struct Drip {
        size: usize,
        chunks: usize,
        pause: Option<Pin<Box<Sleep>>>,
    }

    impl HttpBody for Drip {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let this = self.get_mut();
            let new_pause = || Box::pin(tokio::time::sleep(Duration::from_secs(1)));
            ready!(this.pause.get_or_insert_with(new_pause).as_mut().poll(cx));
            this.pause = None;
            let Some(left) = this.chunks.checked_sub(1) else {
                return Poll::Ready(None);
            };
            this.chunks = left;
            Poll::Ready(Some(Ok(Frame::data(vec![b'x'; this.size].into()))))
        }
    }

    async fn patient(size: usize, chunks: usize) -> PatientBody<Drip> {
        let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        PatientBody::new(
            Drip {
                size,
                chunks,
                pause: None,
            },
            slot,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn d2_row60_one_byte_per_second_is_cut_off() {
        let start = Instant::now();
        let error = patient(1, 3600).await.collect().await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("more slowly than 1024 bytes per second"),
            "{error}"
        );
        assert!(start.elapsed() < 2 * GRACE, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_answer_above_the_minimum_may_take_its_time() {
        let bytes = patient(2048, 600).await.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 2048 * 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_blamed_on_the_server() {
        let mut body = patient(2048, 3).await;
        for _ in 0..3 {
            assert!(body.frame().await.unwrap().is_ok());
            tokio::time::sleep(Duration::from_mins(10)).await;
        }
        assert!(body.frame().await.is_none());
    }
}
