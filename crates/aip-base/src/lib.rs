//! The leaf every other crate depends on: what must be *handed in* (time, randomness, network) and
//! the small types that would otherwise be written again in each crate.
//!
//! No domain word and no I/O lives here; [`SystemClock`] and [`SystemRng`] are the only places
//! where ambient time and randomness enter the program.

mod backoff;
mod blame;
mod clock;
mod collect;
mod credentials;
mod database_url;
mod dns;
mod environment;
mod excerpt;
mod headers;
#[cfg(feature = "runtime")]
mod http;
mod id;
mod lock;
#[cfg(feature = "runtime")]
mod paced;
mod peer;
mod periodic;
#[cfg(feature = "runtime")]
mod request_notes;
mod rng;
#[cfg(feature = "runtime")]
mod supervise;

pub use backoff::Backoff;
pub use blame::Blame;
pub use clock::{Clock, SystemClock, Timestamp};
pub use collect::{CollectError, collect};
pub use credentials::without_credentials;
pub use database_url::{DatabaseUrl, InvalidDatabaseUrl};
pub use dns::{DnsError, DnsTxt};
pub use environment::Environment;
pub use excerpt::{excerpt, terminal_excerpt};
pub use headers::{AmbiguousHeader, retry_after, single_header};
#[cfg(feature = "runtime")]
pub use http::{
    Body, BodyError, Fetched, Http, HttpError, Limits, OnBehalfOf, Partial, Share, empty, full,
};
pub use id::RowId;
pub use lock::lock;
#[cfg(feature = "runtime")]
pub use paced::{Pace, Paced, Slowness};
pub use peer::PeerAddr;
pub use periodic::Periodic;
#[cfg(feature = "runtime")]
pub use request_notes::{QueryStats, RequestNotes};
pub use rng::{Rng, SystemRng, random_name, random_token};
#[cfg(feature = "runtime")]
pub use supervise::supervise;
