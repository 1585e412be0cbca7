//! What all exporters share: a bounded queue that never makes a request wait, batches, and the
//! way to a collector that may be slow or away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aip_base::{Http, HttpError, Limits, retry_after};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long a collector may take to answer.
const LIMITS: Limits = Limits {
    max_bytes: 64 * 1024,
    deadline: Duration::from_secs(10),
};

/// The pause before the second and last try, unless the collector names one.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// No collector is waited for longer than this.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Tells exporters to send what they have and end.
pub(crate) type StopSignal = watch::Receiver<bool>;

/// The end of the queue that is filled. Clones fill the same queue.
pub(crate) struct Queue<T> {
    exporter: &'static str,
    items: mpsc::Sender<T>,
}

/// The end of the queue that is emptied, batch by batch.
pub(crate) struct Batches<T> {
    items: mpsc::Receiver<T>,
    stop: StopSignal,
    max_items: usize,
    max_wait: Duration,
}

/// Where batches go.
pub(crate) struct Collector {
    exporter: &'static str,
    http: Arc<dyn Http>,
    url: http::Uri,
    headers: HeaderMap,
    stop: StopSignal,
    /// Whether the last batch was lost, so that an outage is logged once.
    failing: AtomicBool,
}

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the collector answered {status}")]
    Status {
        status: StatusCode,
        retry_after: Option<Duration>,
    },
}

/// A queue for `capacity` items, emptied in batches of `max_items`, none of which waits longer than
/// `max_wait` for company.
pub(crate) fn queue<T>(
    exporter: &'static str,
    capacity: usize,
    max_items: usize,
    max_wait: Duration,
    stop: StopSignal,
) -> (Queue<T>, Batches<T>) {
    let (sender, items) = mpsc::channel(capacity);
    let queue = Queue {
        exporter,
        items: sender,
    };
    let batches = Batches {
        items,
        stop,
        max_items,
        max_wait,
    };
    (queue, batches)
}

/// Counts `items` that an exporter sent or lost.
pub(crate) fn count(exporter: &'static str, outcome: &'static str, items: usize) {
    metrics::counter!("aip_exports_total", "exporter" => exporter, "outcome" => outcome)
        .increment(items as u64);
}

impl<T> Queue<T> {
    /// Puts `item` into the queue; when that is full, the item is lost and counted.
    pub(crate) fn put(&self, item: T) {
        if self.items.try_send(item).is_err() {
            count(self.exporter, "dropped", 1);
        }
    }
}

impl<T> Batches<T> {
    /// The next batch; `None` when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Vec<T>> {
        let first = tokio::select! {
            item = self.items.recv() => item?,
            _ = self.stop.wait_for(|stop| *stop) => self.items.try_recv().ok()?,
        };
        let mut batch = vec![first];
        let deadline = Instant::now() + self.max_wait;
        while batch.len() < self.max_items {
            let item = tokio::select! {
                biased;
                item = self.items.recv() => item,
                () = tokio::time::sleep_until(deadline) => None,
                _ = self.stop.wait_for(|stop| *stop) => None,
            };
            let Some(item) = item else { break };
            batch.push(item);
        }
        Some(batch)
    }
}

impl Collector {
    /// The collector at `url`, which is sent `headers` with each request.
    pub(crate) fn new(
        exporter: &'static str,
        http: Arc<dyn Http>,
        url: http::Uri,
        headers: HeaderMap,
        stop: StopSignal,
    ) -> Self {
        Self {
            exporter,
            http,
            url,
            headers,
            stop,
            failing: AtomicBool::new(false),
        }
    }

    /// Sends a batch. One that does not arrive is tried once more, then it is lost.
    pub(crate) async fn deliver(&self, body: Bytes) -> Result<(), DeliveryError> {
        let mut outcome = self.post(body.clone()).await;
        if let Err(error) = &outcome
            && let Some(pause) = error.pause()
            && !*self.stop.borrow()
        {
            let mut stop = self.stop.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            outcome = self.post(body).await;
        }
        let failed_before = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Ok(()) if failed_before => {
                tracing::info!(exporter = self.exporter, "exporter recovered");
            }
            Err(error) if !failed_before => {
                tracing::warn!(exporter = self.exporter, %error, "export failed");
            }
            Ok(()) | Err(_) => {}
        }
        outcome
    }

    async fn post(&self, body: Bytes) -> Result<(), DeliveryError> {
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.http.fetch(request, LIMITS).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(DeliveryError::Status {
            status: answer.status,
            retry_after: retry_after(&answer.headers),
        })
    }
}

impl DeliveryError {
    /// How long to wait before trying again; `None` where that is of no use.
    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Http(HttpError::Refused(_) | HttpError::TooLarge(_)) => None,
            Self::Http(_) => Some(RETRY_PAUSE),
            Self::Status {
                status,
                retry_after,
            } => {
                let passes = *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
                passes.then(|| retry_after.unwrap_or(RETRY_PAUSE).min(MAX_PAUSE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aip_base::{Body, empty};
    use async_trait::async_trait;
    use http::Response;
    use http::header::RETRY_AFTER;

    use super::*;

    const MAX_WAIT: Duration = Duration::from_secs(5);

    /// Answers with the next of its statuses; without one it cannot be reached.
    struct Script(Mutex<Vec<u16>>);

    #[async_trait]
    impl Http for Script {
        async fn send(&self, _: Request<Body>, _: Duration) -> Result<Response<Body>, HttpError> {
            let status = self.0.lock().unwrap().pop();
            let status = status.ok_or_else(|| HttpError::Connect("away".to_owned()))?;
            let response = Response::builder().status(status);
            Ok(response.header(RETRY_AFTER, "3600").body(empty()).unwrap())
        }
    }

    /// Whether a batch arrives where requests are answered so, last first, and how long it takes.
    async fn deliver(statuses: &[u16]) -> (bool, Duration) {
        let (_running, stop) = watch::channel(false);
        let collector = Collector::new(
            "test",
            Arc::new(Script(Mutex::new(statuses.to_vec()))),
            http::Uri::from_static("http://collector/"),
            HeaderMap::new(),
            stop,
        );
        let began = Instant::now();
        let outcome = collector.deliver(Bytes::new()).await;
        (outcome.is_ok(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_tried_twice_if_that_is_of_use_and_never_longer() {
        let none = Duration::ZERO;
        for (statuses, outcome) in [
            (&[200][..], (true, none)),
            (&[200, 503], (true, MAX_PAUSE)),
            (&[200, 429], (true, MAX_PAUSE)),
            (&[200, 500, 503], (false, MAX_PAUSE)),
            (&[200, 400], (false, none)),
            (&[], (false, RETRY_PAUSE)),
        ] {
            assert_eq!(deliver(statuses).await, outcome, "{statuses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_loses_what_comes_and_nobody_waits() {
        let (_running, stop) = watch::channel(false);
        let (queue, mut batches) = queue("test", 3, 2, MAX_WAIT, stop);
        for item in 0..10 {
            queue.put(item);
        }
        assert_eq!(batches.next().await, Some(vec![0, 1]));
        assert_eq!(batches.next().await, Some(vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_for_company_and_not_for_long() {
        let (_running, stop) = watch::channel(false);
        let (queue, mut batches) = queue("test", 9, 9, MAX_WAIT, stop);
        queue.put(1);
        let began = Instant::now();
        assert_eq!(batches.next().await, Some(vec![1]));
        assert_eq!(began.elapsed(), MAX_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_queued_at_the_end_is_the_last_batch() {
        let (running, stop) = watch::channel(false);
        let (queue, mut batches) = queue("test", 9, 2, MAX_WAIT, stop);
        for item in 0..3 {
            queue.put(item);
        }
        running.send(true).unwrap();
        let began = Instant::now();
        assert_eq!(batches.next().await, Some(vec![0, 1]));
        assert_eq!(batches.next().await, Some(vec![2]));
        assert_eq!(batches.next().await, None);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
