//! Why a call of an app is not forwarded, or not answered.

use std::time::Duration;

use aip_base::{Blame, BodyError, CollectError, HttpError, Pace, Share};
use aip_jose::SignError;
use aip_sessions::KeeperError;

use crate::permit::Refusal;
use crate::quota::OverQuota;

/// The largest JSON body that is judged before it leaves; PDSs accept 150 KiB by default.
pub(crate) const MAX_WRITE_BYTES: usize = 1024 * 1024;
/// The minimum rate of an app's body. A file of any size may come as slowly as a telephone sends.
pub(crate) const CALLER_PACE: Pace = Pace {
    grace: Duration::from_secs(30),
    bytes_per_second: 8 * 1024,
};

/// Why a call is not forwarded, or not answered.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// 403: the app's token does not allow it; 400: it is no call that could be judged. Nothing
    /// was sent.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// 502: the token includes permission sets, and whether they allow the call could not be read.
    /// Nothing was sent.
    #[error("the permission sets that the access token includes could not be read")]
    PermissionSets,
    /// 400: what the call is judged by could be read in two ways. Nothing was sent.
    #[error("the header {0} is repeated or unreadable")]
    Header(&'static str),
    /// 429: the app calls too often.
    #[error(transparent)]
    TooOften(#[from] OverQuota),
    /// 408: the app sends too slowly.
    #[error("the body came more slowly than {} bytes per second", CALLER_PACE.bytes_per_second)]
    TooSlow,
    /// 413.
    #[error("the body is larger than {MAX_WRITE_BYTES} bytes")]
    TooLarge,
    /// 400: the app's body broke off.
    #[error(transparent)]
    Broken(#[from] BodyError),
    /// 401: the person must sign in again. 503: later. 500: our fault.
    #[error(transparent)]
    Session(#[from] KeeperError),
    /// 401: the PDS rejects even fresh tokens.
    #[error("the PDS rejects the session's fresh access token")]
    Rejected,
    /// 502 or 504: the PDS did not answer.
    #[error("the PDS did not answer: {0}")]
    Pds(#[from] HttpError),
    /// Our fault.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl ForwardError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Refused(_)
            | Self::Header(_)
            | Self::TooOften(_)
            | Self::TooSlow
            | Self::TooLarge
            | Self::Broken(_)
            | Self::Pds(HttpError::Busy(Share::Account | Share::Client)) => Blame::Caller,
            Self::Session(error) => error.blame(),
            Self::PermissionSets | Self::Rejected | Self::Pds(_) => Blame::Upstream,
            Self::Sign(_) => Blame::Ours,
        }
    }
}

impl From<CollectError<BodyError>> for ForwardError {
    fn from(error: CollectError<BodyError>) -> Self {
        match error {
            CollectError::TooLarge(_) => Self::TooLarge,
            CollectError::Broken(error) => Self::Broken(error),
        }
    }
}
