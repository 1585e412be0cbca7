//! Row ids: `UUIDv7`, sortable by creation time, and therefore never a secret.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::{Clock, Rng, Timestamp};

/// The id of a stored row, a UUID of version 7 (RFC 9562 §5.7).
///
/// It leaks its creation time: use it as a name, never as a bearer value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(Uuid);

impl RowId {
    /// A fresh id from the given clock and generator.
    pub fn new(clock: &dyn Clock, rng: &dyn Rng) -> Self {
        let millis = u64::try_from(clock.now().as_micros() / 1000).unwrap_or(0);
        let mut random = [0; 10];
        rng.fill(&mut random);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// When it was made, as far as it tells: not all UUIDs are of version 7.
    pub fn created_at(self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let micros = seconds.checked_mul(1_000_000)? + u64::from(nanos / 1000);
        i64::try_from(micros).ok().map(Timestamp::from_micros)
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for RowId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(s).map(Self)
    }
}
