//! Client assertions for apps that talk to PDSs themselves (AT Protocol proposal 0010): signed with AIP's
//! client key, for the upstream client of that app, and bound to the DPoP key of one device.

use aip_atproto::Issuer;
use aip_jose::{SignError, client_assertion};
use aip_storage::StorageError;
use aip_storage::assertion_key::{AssertingDevice, AssertionKey, MAX_ASSERTION_KEYS_OF_CLIENT};
use aip_storage::audit::AuditKind;
use aip_storage::client::ClientId;

use crate::identity::MissingKey;
use crate::upstream::Upstream;

/// An assertion to sign; whether the app may have it is checked.
#[derive(Debug, Clone, Copy)]
pub struct AppAssertionRequest<'a> {
    /// The app.
    pub client: &'a ClientId,
    /// The URL of its own client document.
    pub document: &'a str,
    /// The thumbprint of the device's key, whose possession it proved.
    pub jkt: &'a str,
    /// The authorization server.
    pub audience: &'a Issuer,
    /// Whether the first one of a device is written to the audit log: not if anybody could have asked, who
    /// would fill it.
    pub audited: bool,
}

/// Why none is signed.
#[derive(Debug, thiserror::Error)]
pub enum AppAssertionError {
    /// It was deleted meanwhile.
    #[error("there is no such client any more")]
    NoClient,
    /// Our fault.
    #[error(transparent)]
    MissingKey(#[from] MissingKey),
    /// Our fault.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Upstream {
    /// Signs an assertion. A device gets all of its assertions by the key that signed its first one, as
    /// its PDS ends the session otherwise.
    pub async fn sign_for_app(
        &self,
        asked: &AppAssertionRequest<'_>,
    ) -> Result<String, AppAssertionError> {
        let active = self.identity.active_key();
        let device = AssertingDevice {
            client_id: asked.client.clone(),
            jkt: asked.jkt.to_owned(),
            client_key_id: active.kid().unwrap_or_default().to_owned(),
            now: self.clock.now(),
        };
        let used = self
            .storage
            .use_assertion_key(&device, MAX_ASSERTION_KEYS_OF_CLIENT);
        let key = match used.await? {
            AssertionKey::NoClient => return Err(AppAssertionError::NoClient),
            AssertionKey::Known(kid) => self.identity.key(&kid)?,
            AssertionKey::New => {
                if asked.audited {
                    self.note_device(asked).await;
                }
                active
            }
        };
        let (rng, audience) = (&*self.rng, asked.audience.as_str());
        Ok(client_assertion::make_bound(
            &key,
            rng,
            device.now,
            asked.document,
            audience,
            asked.jkt,
        )?)
    }

    /// Notes what is done already: where that fails, the device has its assertion all the same.
    async fn note_device(&self, asked: &AppAssertionRequest<'_>) {
        let detail = format!("for {}: {}", asked.audience.as_str(), asked.jkt);
        let event = self.audit_event(AuditKind::AssertionKeyBound, &detail);
        self.storage.note(&event.of_client(asked.client)).await;
    }
}
