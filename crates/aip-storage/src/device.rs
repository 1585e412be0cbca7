//! Device codes (RFC 8628): what a device without a browser asks for, until somebody has decided about
//! it in a browser, and the device has fetched its tokens.

use std::time::Duration;

use aip_atproto::ScopeSet;
use aip_base::Timestamp;
use aip_keys::TokenHash;
use async_trait::async_trait;

use crate::StorageError;
use crate::client::ClientId;
use crate::grant::{Grant, NewTokens, TokenFault};
use crate::resource_uri::ResourceList;

/// By how much a device that polls too fast must slow down each time (RFC 8628 §3.5).
pub const SLOW_DOWN: Duration = Duration::from_secs(5);

/// How much earlier than the interval says a poll may arrive: requests take different times.
pub const POLL_TOLERANCE: Duration = Duration::from_secs(1);

/// How long a device has to fetch its tokens after somebody allowed it, at least.
pub const FETCH_TIME: Duration = Duration::from_mins(1);

/// What a device asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// The keyed hash of the device code.
    pub code: TokenHash,
    /// The keyed hash of the user code.
    pub user_code: TokenHash,
    /// The app on the device.
    pub client_id: ClientId,
    /// What it asks for, as far as it is known and registered for the app.
    pub scope: ScopeSet,
    /// What it asks for, word for word.
    pub asked: ScopeSet,
    /// The resource servers that it asks for; none: AIP alone.
    pub resources: ResourceList,
    /// The network that it asked from: an IPv4 address, or an IPv6 network of 64 bits. For the person who is
    /// to decide (RFC 8628 §5.4), and forgotten when they have. `None`: a release that did not note it stored
    /// this.
    pub asked_from: Option<String>,
    /// How long it must wait between two polls.
    pub interval: Duration,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A device code presented at the token endpoint by an authenticated client.
#[derive(Debug, Clone)]
pub struct DevicePoll {
    /// The keyed hash of the device code.
    pub code: TokenHash,
    /// The client that authenticated.
    pub client_id: ClientId,
    /// The key of the DPoP proof, if one was sent; the grant is bound to it from now on.
    pub dpop_jkt: Option<String>,
    /// What to store if somebody has allowed it.
    pub tokens: NewTokens,
    /// The present instant.
    pub now: Timestamp,
}

/// The outcome of a poll.
#[derive(Debug)]
pub enum PollDevice {
    /// Spent now, by this call alone; the tokens are stored.
    Redeemed(Box<Grant>),
    /// Nobody has decided yet.
    Pending,
    /// Nobody has decided yet, and the device polls too fast: its interval has grown.
    TooFast,
    /// Somebody said no.
    Denied,
    /// Nobody decided in time, or the device did not fetch its tokens in time.
    Expired,
    /// No code of this client, spent before, or what it led to has ended. The reason is for the log.
    Refused(TokenFault),
}

/// The verbs on device authorizations (RFC 8628).
#[async_trait]
pub trait DeviceCodes: Send + Sync {
    /// Stores what a device asks for. `false`: one of the codes is taken; nothing changed.
    async fn put_device_code(&self, asked: &DeviceAuthorization) -> Result<bool, StorageError>;

    /// What was asked under that user code, if nobody has decided about it and it has not expired.
    async fn device_of_user_code(
        &self,
        user_code: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<DeviceAuthorization>, StorageError>;

    /// The same by the device code.
    async fn undecided_device(
        &self,
        code: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<DeviceAuthorization>, StorageError>;

    /// Ends it with a no. `false`: it was decided before, or expired.
    async fn refuse_device(&self, code: &TokenHash, now: Timestamp) -> Result<bool, StorageError>;

    /// The resource servers that this client asked for with that code; `None` if it did not, or the
    /// code has expired.
    async fn device_resources(
        &self,
        code: &TokenHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<ResourceList>, StorageError>;

    /// Counts a poll, or spends the code and stores its tokens, in one transaction.
    async fn poll_device(&self, poll: &DevicePoll) -> Result<PollDevice, StorageError>;
}
