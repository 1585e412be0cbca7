//! Which version is released, and from which commit.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The licences of the sources, as SPDX writes them.
pub const LICENSES: &str = "MIT OR Apache-2.0";

/// A version, its commit, and the time that everything is dated with: never that of the build, or no
/// two builds would be alike.
#[derive(Debug, Clone)]
pub struct Origin {
    /// As in `0.1.0`.
    pub version: String,
    /// The hash of the commit; empty if it is unknown.
    pub commit: String,
    /// When the commit was made.
    pub time: Timestamp,
}

impl Origin {
    /// This version of the commit that this program was built from. `epoch` (seconds since 1970)
    /// stands for the date of the commit where that is unknown.
    pub fn of_this_commit(version: String, epoch: Option<i64>) -> Result<Self> {
        let time = match epoch {
            Some(seconds) => Timestamp::from_second(seconds)?,
            None => aip_version::COMMIT_DATE.parse().context(
                "the date of the commit is unknown: these sources are no git checkout, and were \
                 not made by `git archive`; say it with SOURCE_DATE_EPOCH=SECONDS",
            )?,
        };
        Ok(Self {
            version,
            commit: aip_version::COMMIT.to_owned(),
            time,
        })
    }

    /// Seconds since 1970.
    pub(crate) fn epoch(&self) -> u64 {
        u64::try_from(self.time.as_second()).unwrap_or(0)
    }

    /// As RFC 3339 has it, in UTC.
    pub(crate) fn rfc3339(&self) -> String {
        self.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// As RFC 5322 has it.
    pub(crate) fn rfc5322(&self) -> String {
        let time = self.time.to_zoned(TimeZone::UTC);
        time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }
}
