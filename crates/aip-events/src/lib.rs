//! The events of the network, as a Jetstream server tells them
//! (<https://github.com/bluesky-social/jetstream>): which identities and accounts have changed.
//!
//! They are hints of a third party. What an event says of an account is not handed on, only that
//! something may be different: whoever is told asks the PLC directory or the PDS. Both protocols are
//! read, v1 (`/subscribe`) and v2 (`network.bsky.jetstream.subscribeEvents`).
//!
//! No account is named to the server: it would learn who signs in here. The identity and account events
//! of the whole network are a few in a second; those of strangers are dropped.
//!
//! Reading order: [`EventServer`] (what is asked for), `frame` (what comes), [`Subscription`] (one
//! connection), [`Following`] (again and again, from where it stopped).

mod compression;
mod connection;
mod follow;
mod frame;
mod server;

pub use compression::{Dictionary, DictionaryError};
pub use connection::{Connection, Dial, OpenError, StreamError, Subscription};
pub use follow::{Follower, Following, Timing};
pub use frame::{Change, Event, Frame, MalformedFrame};
pub use server::{EventServer, InvalidEventServer, Protocol};

/// The largest frame that is read, in bytes, compressed or not. Events of identities and accounts have
/// some hundred; the server is asked to leave larger ones out.
const MAX_FRAME_BYTES: usize = 64 * 1024;
