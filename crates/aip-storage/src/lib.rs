//! What AIP keeps, and the verbs by which it changes.
//!
//! The traits offer *verbs with outcomes* (`redeem_code` → redeemed, already spent, refused),
//! never find-then-consume: every binding is a condition of the one statement that spends, so no
//! implementation can be raced into a double spend. Values that must be read back arrive sealed,
//! values that are only compared arrive hashed; this crate never sees a usable secret.

pub mod account;
pub mod audit;
pub mod browser;
pub mod client;
pub mod gcra;
pub mod grant;
pub mod housekeeping;
pub mod nonces;
pub mod notices;
pub mod operations;
pub mod prompt;
pub mod rates;
pub mod replay;
pub mod request;
pub mod session_status;
pub mod upstream;

mod error;

pub use error::StorageError;

/// Everything the application keeps, behind one object.
pub trait Storage:
    account::Accounts
    + audit::Audit
    + browser::Browsers
    + client::Clients
    + grant::Grants
    + housekeeping::Housekeeping
    + operations::Operations
    + replay::Replays
    + request::Requests
    + upstream::UpstreamSessions
{
}

impl<T> Storage for T where
    T: account::Accounts
        + audit::Audit
        + browser::Browsers
        + client::Clients
        + grant::Grants
        + housekeeping::Housekeeping
        + operations::Operations
        + replay::Replays
        + request::Requests
        + upstream::UpstreamSessions
{
}
