//! Waiting for a condition with a deadline.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Asks until the answer is `Ok`, for a minute.
///
/// # Panics
///
/// With the last refusal, when the time is up.
pub async fn eventually<T, E: Display>(what: &str, ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    eventually_within(DEFAULT_TIMEOUT, what, ask).await
}

/// Asks until the answer is `Ok` or `patience` has passed.
///
/// # Panics
///
/// With the last refusal, when the time is up.
pub async fn eventually_within<T, E: Display>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(refusal) if Instant::now() >= deadline => {
                panic!("{what}: not within {} s: {refusal}", patience.as_secs())
            }
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}
