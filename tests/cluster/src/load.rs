//! Constant load that counts what is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A request that takes longer is lost.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// So many reasons are kept; all failures are counted.
const MAX_FAILURE_REASONS: usize = 20;

/// Workers that ask again and again until [`Load::stop`].
pub struct Load {
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
    tally: Arc<Mutex<Tally>>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were answered as they should.
    pub answered: usize,
    /// Requests that were not.
    pub lost: usize,
    /// Why, and how long after the start, for the first of them.
    pub reasons: Vec<(Duration, String)>,
}

impl Load {
    /// `workers` of them, each with a pause between an answer and its next request. `ask` makes one
    /// request and says what was wrong with the answer.
    pub fn start<F>(
        workers: usize,
        pause: Duration,
        ask: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send,
    {
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::<Mutex<Tally>>::default();
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..workers {
            let (ask, stopped, tally) = (ask.clone(), stopped.clone(), Arc::clone(&tally));
            running.spawn(async move {
                while !*stopped.borrow() {
                    let outcome = timeout(REQUEST_TIMEOUT, ask()).await;
                    let outcome = outcome.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                    tally
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .count(begun.elapsed(), outcome);
                    tokio::time::sleep(pause).await;
                }
            });
        }
        Self {
            stop,
            workers: running,
            tally,
        }
    }

    /// What has come of it so far.
    pub fn tally(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets every worker finish its request.
    ///
    /// # Panics
    ///
    /// If a worker has panicked.
    pub async fn stop(mut self) -> Tally {
        self.stop.send_replace(true);
        while let Some(worker) = self.workers.join_next().await {
            worker.expect("a worker of the load does not panic");
        }
        self.tally()
    }
}

impl Tally {
    fn count(&mut self, at: Duration, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.answered += 1,
            Err(reason) => {
                self.lost += 1;
                if self.reasons.len() < MAX_FAILURE_REASONS {
                    self.reasons.push((at, reason));
                }
            }
        }
    }

    /// # Panics
    ///
    /// If a request was lost, or none was made.
    pub fn assert_nothing_lost(&self) {
        assert!(self.answered > 0, "there was no load: {self:?}");
        assert_eq!(self.lost, 0, "requests were lost: {self:#?}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn every_outcome_is_counted_and_reasons_are_kept() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let load = Load::start(2, Duration::from_millis(1), move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move {
                if number == 3 {
                    Err("boom".to_owned())
                } else {
                    Ok(())
                }
            }
        });
        while load.tally().answered < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let tally = load.stop().await;
        assert_eq!(tally.answered + tally.lost, asked.load(Ordering::Relaxed));
        assert_eq!(tally.lost, 1);
        assert_eq!(tally.reasons[0].1, "boom");
    }
}
