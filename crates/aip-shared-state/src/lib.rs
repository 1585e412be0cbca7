//! What replicas share besides the database: DPoP nonces, rate limits and notices.
//!
//! Nothing here is the truth. It may be wiped at any time, and that costs speed: a round trip more
//! to a PDS, a few calls more than a quota says, a wait until somebody looks again. What must hold
//! (sessions, replays) is in the database alone.
//!
//! One process keeps it in memory ([`local`]), replicas keep it in the database, or in Valkey with
//! the database behind it ([`fallback`]).

pub mod fallback;
pub mod local;
mod nonces;
mod state;
pub mod valkey;

pub use nonces::TieredNonces;
pub use state::SharedState;
