//! The DPoP keys of devices that AIP signs client assertions for (AT Protocol proposal 0010), each with the
//! client key of AIP that signs them: a PDS binds the session of a device to that one for life.

use std::time::Duration;

use aip_base::Timestamp;
use async_trait::async_trait;

use crate::StorageError;
use crate::client::ClientId;

/// The most devices of one app. Those that asked once give way to a new one first, then the one that asked
/// longest ago: it only forgets which key its session is bound to, which matters after a rotation.
pub const MAX_ASSERTION_KEYS_OF_CLIENT: u32 = 10_000;

/// How long a device stays remembered by asking. With the time that it is kept after that
/// ([`RetentionClass::AssertionKeys`](crate::housekeeping::RetentionClass::AssertionKeys)) that makes two
/// years, after which PDSs of the reference implementation have ended its session: otherwise a device could
/// keep a key in use for ever.
pub const ASSERTION_KEY_RENEWED_FOR: Duration = Duration::from_hours(24 * 550);

/// A device that asks for an assertion.
#[derive(Debug, Clone)]
pub struct AssertingDevice {
    /// Of which app.
    pub client_id: ClientId,
    /// The thumbprint of its key (RFC 7638), whose possession it proved.
    pub jkt: String,
    /// The key of AIP that signs for a device that asks for the first time.
    pub client_key_id: String,
    /// The present instant.
    pub now: Timestamp,
}

/// Which key of AIP signs for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssertionKey {
    /// The one given: the device asks for the first time, or is forgotten.
    New,
    /// This one, with which it was signed for the device before.
    Known(String),
    /// None: there is no such client any more.
    NoClient,
}

/// The devices.
#[async_trait]
pub trait AssertionKeys: Send + Sync {
    /// Notes that the device asks, and says which key signs. Of one client there are `max` devices at
    /// most, and for a moment as many more as ask for the first time at once.
    async fn use_assertion_key(
        &self,
        device: &AssertingDevice,
        max: u32,
    ) -> Result<AssertionKey, StorageError>;

    /// Forgets the devices that a key signs for, because it is lost to them: one that asks again is a new
    /// one. How many there were.
    async fn forget_assertion_keys(&self, client_key_id: &str) -> Result<u64, StorageError>;
}
