//! A body that must keep a minimum rate. Waiting costs, bytes pay: who sends one byte per second is
//! cut off, a reader that takes its time is not, and a large body may take as long as it needs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::BodyError;

/// The minimum rate of a body.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long it may stand still, and the most that it can save up.
    pub grace: Duration,
    /// Bytes per second that pay for one second of waiting; not 0.
    pub bytes_per_second: u32,
}

/// A body with a minimum rate.
pub struct Paced<B> {
    inner: B,
    pace: Pace,
    allowance: Duration,
    waiting_since: Option<Instant>,
    /// There once something was waited for.
    timer: Option<Pin<Box<Sleep>>>,
    too_slow: Arc<AtomicBool>,
}

/// Whether a body was cut off for its rate; it outlives the body.
#[derive(Debug, Clone)]
pub struct Slowness(Arc<AtomicBool>);

#[derive(Debug, thiserror::Error)]
#[error("the body came more slowly than {0} bytes per second")]
struct TooSlow(u32);

impl<B> Paced<B> {
    /// Holds `inner` to `pace`.
    pub fn new(inner: B, pace: Pace) -> Self {
        Self {
            inner,
            pace,
            allowance: pace.grace,
            waiting_since: None,
            timer: None,
            too_slow: Arc::default(),
        }
    }

    /// Tells whether it was cut off, also when somebody else has read it.
    pub fn slowness(&self) -> Slowness {
        Slowness(Arc::clone(&self.too_slow))
    }

    /// Ends the wait, if there was one, and takes it from the allowance.
    fn settle(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.allowance = self.allowance.saturating_sub(since.elapsed());
        }
    }
}

impl Slowness {
    /// Whether it was cut off.
    pub fn is_too_slow(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl<B> HttpBody for Paced<B>
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
                let rate = this.pace.bytes_per_second.max(1);
                let earned = Duration::from_secs(bytes.into()) / rate;
                this.allowance = (this.allowance + earned).min(this.pace.grace);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|e| BodyError(e.into()))));
        }
        if this.waiting_since.is_none() {
            let now = Instant::now();
            this.waiting_since = Some(now);
            let end = now + this.allowance;
            match &mut this.timer {
                Some(timer) => timer.as_mut().reset(end),
                None => this.timer = Some(Box::pin(tokio::time::sleep_until(end))),
            }
        }
        if let Some(timer) = &mut this.timer {
            ready!(timer.as_mut().poll(cx));
        }
        this.too_slow.store(true, Ordering::Release);
        let error = TooSlow(this.pace.bytes_per_second);
        Poll::Ready(Some(Err(BodyError(error.into()))))
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

    use super::*;

    const PACE: Pace = Pace {
        grace: Duration::from_secs(10),
        bytes_per_second: 1024,
    };

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

    fn paced(size: usize, chunks: usize) -> Paced<Drip> {
        let drip = Drip {
            size,
            chunks,
            pause: None,
        };
        Paced::new(drip, PACE)
    }

    #[tokio::test(start_paused = true)]
    async fn one_byte_per_second_is_cut_off() {
        let start = Instant::now();
        let body = paced(1, 3600);
        let slowness = body.slowness();
        let error = body.collect().await.unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("more slowly than 1024 bytes per second"),
            "{told}"
        );
        assert!(slowness.is_too_slow());
        assert!(start.elapsed() < 2 * PACE.grace, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_body_above_the_minimum_may_take_its_time() {
        let body = paced(2048, 600);
        let slowness = body.slowness();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 2048 * 600);
        assert!(!slowness.is_too_slow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_blamed_on_the_sender() {
        let mut body = paced(2048, 3);
        for _ in 0..3 {
            assert!(body.frame().await.unwrap().is_ok());
            tokio::time::sleep(Duration::from_mins(10)).await;
        }
        assert!(body.frame().await.is_none());
    }
}
