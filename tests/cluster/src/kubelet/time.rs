//! The time as Kubernetes writes it.

use aip_base::{Clock as _, SystemClock};
use k8s_openapi::jiff::Timestamp;

/// The present instant.
pub(crate) fn now() -> Timestamp {
    let micros = SystemClock.now().as_micros();
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}
